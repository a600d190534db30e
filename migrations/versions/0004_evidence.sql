-- Evidence, version 4: epochs, halted towns, and what is kept of devices that may not act.
-- Only adds: the code of the version before runs on this schema as it did.

SET ROLE tallystick_owner;

-- Beside the lock, so that whoever waits for it sees what was decided meanwhile.
ALTER TABLE tallystick.town_heads ADD COLUMN is_halted BOOLEAN NOT NULL DEFAULT false;

-- A device's signature over its chain, where the kept line is the last of what it sent.
ALTER TABLE tallystick.fork_lines ADD COLUMN signature TEXT;

CREATE TABLE tallystick.epochs (
  town_id UUID NOT NULL,
  epoch UUID NOT NULL,
  before UUID NOT NULL,
  version BIGINT NOT NULL,
  journal_hash BYTEA NOT NULL,
  begun_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  reason TEXT NOT NULL,
  signature TEXT NOT NULL,
  CONSTRAINT epochs_pkey PRIMARY KEY (town_id, epoch)
);

CREATE TABLE tallystick.halts (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  device_id UUID NOT NULL,
  epoch UUID NOT NULL,
  version BIGINT NOT NULL,
  journal_hash BYTEA NOT NULL,
  signature TEXT NOT NULL,
  head_version BIGINT NOT NULL,
  halted_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT halts_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.resumptions (
  town_id UUID NOT NULL,
  halt_id UUID NOT NULL,
  epoch UUID,
  reason TEXT NOT NULL,
  resumed_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT resumptions_pkey PRIMARY KEY (town_id, halt_id)
);

CREATE TABLE tallystick.device_releases (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  released_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  reason TEXT NOT NULL,
  CONSTRAINT device_releases_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.replacements (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  device_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  hash TEXT NOT NULL,
  outcome TEXT NOT NULL,
  by_device_id UUID NOT NULL,
  by_seq BIGINT NOT NULL,
  CONSTRAINT replacements_pkey PRIMARY KEY (town_id, id)
);

DO $$ DECLARE t text; BEGIN
  FOREACH t IN ARRAY ARRAY['epochs', 'halts', 'resumptions'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tallystick.%I FOR EACH STATEMENT EXECUTE FUNCTION tallystick.refuse()', t);
  END LOOP;
  -- As 0001 has it: a town sees itself, and a restrictive fence that no later policy can widen.
  FOREACH t IN ARRAY ARRAY['device_releases', 'epochs', 'halts', 'replacements', 'resumptions'] LOOP
    EXECUTE format('ALTER TABLE tallystick.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE tallystick.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY grant_town ON tallystick.%I AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()))', t);
    EXECUTE format('CREATE POLICY fence_town ON tallystick.%I AS RESTRICTIVE FOR ALL TO PUBLIC USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()))', t);
    EXECUTE format('GRANT SELECT, INSERT ON tallystick.%I TO tallystick_api', t);
  END LOOP;
END $$;
GRANT UPDATE ON tallystick.device_releases, tallystick.replacements TO tallystick_api;

RESET ROLE;
