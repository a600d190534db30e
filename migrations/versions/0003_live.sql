-- Live and first sync, version 3: snapshots of buckets, where tombstones end, and when business was archived.
-- Only adds: the code of version 2 runs on this schema as it did.

SET ROLE tallystick_owner;

-- Tombstones of the bucket up to this version may be gone: a cursor below it would miss them, and starts anew.
ALTER TABLE tallystick.buckets ADD COLUMN horizon BIGINT NOT NULL DEFAULT 0;

CREATE TABLE tallystick.snapshots (
  town_id UUID NOT NULL,
  bucket TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  epoch UUID NOT NULL,
  version BIGINT NOT NULL,
  rows BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  made_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT snapshots_pkey PRIMARY KEY (town_id, bucket, sha256),
  CONSTRAINT snapshots_sha256_check CHECK (sha256 ~ '^[0-9a-f]{64}$')
);

-- As 0001 has it: a town sees itself, and a restrictive fence that no later policy can widen.
ALTER TABLE tallystick.snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE tallystick.snapshots FORCE ROW LEVEL SECURITY;
CREATE POLICY grant_town ON tallystick.snapshots AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
CREATE POLICY fence_town ON tallystick.snapshots AS RESTRICTIVE FOR ALL TO PUBLIC
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
GRANT SELECT, INSERT, UPDATE, DELETE ON tallystick.snapshots TO tallystick_api;
GRANT DELETE ON tallystick.feed TO tallystick_api;

-- Since when business is archived: in the tables and lists, and on no device any more.
ALTER TABLE tallystick.orders ADD COLUMN archived_at TIMESTAMP(3) WITH TIME ZONE;
ALTER TABLE tallystick.fulfilments ADD COLUMN archived_at TIMESTAMP(3) WITH TIME ZONE;
ALTER TABLE tallystick.dispatches ADD COLUMN archived_at TIMESTAMP(3) WITH TIME ZONE;
CREATE INDEX IF NOT EXISTS orders_closed_idx ON tallystick.orders (town_id, version) WHERE archived_at IS NULL
  AND (custody IN ('customer', 'returned') OR (commercial = 'cancelled' AND custody = 'warehouse'));

-- What is let go after a time. On a large installation make it CONCURRENTLY before migrating: IF NOT EXISTS takes it.
CREATE INDEX IF NOT EXISTS feed_tombstones_idx ON tallystick.feed (town_id, version) WHERE body IS NULL;

RESET ROLE;
