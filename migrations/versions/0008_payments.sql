-- Payments by providers: what they send by themselves, as it came, and what became of it.
-- Only adds: the code of the version before runs on this schema as it did.

SET ROLE tallystick_owner;

CREATE TABLE tallystick.inbox (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  kind TEXT NOT NULL,
  data JSONB NOT NULL,
  version BIGINT NOT NULL,
  received_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  method TEXT NOT NULL,
  content_type TEXT NOT NULL,
  body BYTEA NOT NULL,
  times BIGINT NOT NULL,
  due_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  attempts BIGINT NOT NULL,
  done_at TIMESTAMP(3) WITH TIME ZONE,
  problem TEXT,
  traceparent TEXT,
  CONSTRAINT inbox_pkey PRIMARY KEY (town_id, id)
);
CREATE INDEX inbox_due_idx ON tallystick.inbox (town_id, due_at) WHERE done_at IS NULL;

ALTER TABLE tallystick.inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE tallystick.inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY grant_town ON tallystick.inbox AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
CREATE POLICY fence_town ON tallystick.inbox AS RESTRICTIVE FOR ALL TO PUBLIC
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
GRANT SELECT, INSERT, UPDATE ON tallystick.inbox TO tallystick_api;

-- A receipt is looked up by what is printed on it.
CREATE INDEX IF NOT EXISTS receipts_number_idx ON tallystick.receipts (town_id, device_id, number);

RESET ROLE;
