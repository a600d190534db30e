-- People who work for one school; callbacks that are forgotten some time after they were looked at.
-- Only adds: the code of the version before runs on this schema as it did.

SET ROLE tallystick_owner;

ALTER TABLE tallystick.users ADD COLUMN school_id UUID;

-- What was looked at long ago is dropped; what waits, or was given up, has no `done_at` and stays.
CREATE INDEX IF NOT EXISTS inbox_done_idx ON tallystick.inbox (town_id, done_at) WHERE done_at IS NOT NULL;
GRANT DELETE ON tallystick.inbox TO tallystick_api;

RESET ROLE;
