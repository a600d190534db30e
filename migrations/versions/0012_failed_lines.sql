-- Failures of a line are counted by its hash: another line may come to be at its place.
-- Only adds: the code of the version before runs on this schema as it did, and goes on counting by place.

SET ROLE tallystick_owner;

CREATE TABLE tallystick.failed_lines (
  town_id UUID NOT NULL,
  device_id UUID NOT NULL,
  hash BYTEA NOT NULL,
  failures BIGINT NOT NULL,
  CONSTRAINT failed_lines_pkey PRIMARY KEY (town_id, device_id, hash)
);

ALTER TABLE tallystick.failed_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE tallystick.failed_lines FORCE ROW LEVEL SECURITY;
CREATE POLICY grant_town ON tallystick.failed_lines AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
CREATE POLICY fence_town ON tallystick.failed_lines AS RESTRICTIVE FOR ALL TO PUBLIC
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
GRANT SELECT, INSERT, UPDATE ON tallystick.failed_lines TO tallystick_api;

RESET ROLE;
