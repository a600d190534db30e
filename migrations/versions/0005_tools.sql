-- Operators' tools, version 5: when a device was lost, what revoked devices hand in, and the lines in quarantine.
-- Only adds: the code of the version before runs on this schema as it did.

SET ROLE tallystick_owner;

ALTER TABLE tallystick.devices ADD COLUMN lost_at TIMESTAMP(3) WITH TIME ZONE;

-- On a large installation make it CONCURRENTLY before migrating: IF NOT EXISTS takes it as it is.
CREATE INDEX IF NOT EXISTS change_sets_quarantined_idx ON tallystick.change_sets (town_id, version)
  WHERE status = 'quarantined';

CREATE TABLE tallystick.sealed_uploads (
  town_id UUID NOT NULL,
  device_id UUID NOT NULL,
  to_seq BIGINT NOT NULL,
  head_hash BYTEA NOT NULL,
  from_seq BIGINT NOT NULL,
  box BYTEA NOT NULL,
  signature TEXT NOT NULL,
  received_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  reviewed BIGINT,
  problem TEXT,
  CONSTRAINT sealed_uploads_pkey PRIMARY KEY (town_id, device_id, to_seq, head_hash),
  CONSTRAINT sealed_uploads_hash_check CHECK (octet_length(head_hash) = 32)
);

-- As 0001 has it: a town sees itself, and a restrictive fence that no later policy can widen.
ALTER TABLE tallystick.sealed_uploads ENABLE ROW LEVEL SECURITY;
ALTER TABLE tallystick.sealed_uploads FORCE ROW LEVEL SECURITY;
CREATE POLICY grant_town ON tallystick.sealed_uploads AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
CREATE POLICY fence_town ON tallystick.sealed_uploads AS RESTRICTIVE FOR ALL TO PUBLIC
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
GRANT SELECT, INSERT ON tallystick.sealed_uploads TO tallystick_api;
GRANT UPDATE (reviewed, problem) ON tallystick.sealed_uploads TO tallystick_api;

RESET ROLE;
