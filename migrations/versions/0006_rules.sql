-- More rules: counts, quotas, stubs, resolutions.
-- Only adds: the code of the version before runs on this schema as it did.

SET ROLE tallystick_owner;

-- Resolutions, and stubs for what has not been heard of yet.
ALTER TABLE tallystick.conflicts ADD COLUMN task_id UUID, ADD COLUMN resolution JSONB;
ALTER TABLE tallystick.tasks ADD COLUMN closed JSONB;

-- Roles that somebody had before.
ALTER TABLE tallystick.users ADD COLUMN former_roles JSONB NOT NULL DEFAULT '[]';

-- The towns are named because the owner sees no more than the application does.
SELECT set_config('app.town_ids', '{' || coalesce(string_agg(town_id::text, ','), '') || '}', true)
FROM tallystick.town_names;
UPDATE tallystick.conflicts AS c SET task_id = t.id FROM tallystick.tasks AS t
WHERE t.town_id = c.town_id AND t.conflict_id = c.id;
SELECT set_config('app.town_ids', '', true);

CREATE TABLE tallystick.stubs (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  awaited_entity TEXT NOT NULL,
  awaited_id UUID NOT NULL,
  state TEXT NOT NULL,
  since TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  facts JSONB NOT NULL,
  given_id UUID,
  CONSTRAINT stubs_pkey PRIMARY KEY (town_id, id)
);

ALTER TABLE tallystick.stubs ENABLE ROW LEVEL SECURITY;
ALTER TABLE tallystick.stubs FORCE ROW LEVEL SECURITY;
CREATE POLICY grant_town ON tallystick.stubs AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
CREATE POLICY fence_town ON tallystick.stubs AS RESTRICTIVE FOR ALL TO PUBLIC
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
GRANT SELECT, INSERT, UPDATE ON tallystick.stubs TO tallystick_api;

-- Counts, and what devices may sell by themselves. A shelf numbers its movements from now on.
ALTER TABLE tallystick.stock_levels ADD COLUMN moves BIGINT NOT NULL DEFAULT 0, ADD COLUMN count_id UUID;
ALTER TABLE tallystick.stock_movements
  ADD COLUMN count_id UUID,
  ADD COLUMN booked_version BIGINT,
  ADD COLUMN after_version BIGINT,
  ADD COLUMN earliest TIMESTAMP(3) WITH TIME ZONE,
  ADD COLUMN latest TIMESTAMP(3) WITH TIME ZONE;

CREATE TABLE tallystick.stock_counts (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  warehouse_id UUID NOT NULL,
  product_id UUID NOT NULL,
  counted BIGINT NOT NULL,
  expected BIGINT,
  correction BIGINT NOT NULL,
  state TEXT NOT NULL,
  rival_id UUID,
  moves BIGINT NOT NULL,
  counted_by UUID NOT NULL,
  device_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  booked_version BIGINT NOT NULL,
  after_version BIGINT NOT NULL,
  earliest TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  latest TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  claimed_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  received_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT stock_counts_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.stock_quotas (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  holder_id UUID NOT NULL,
  warehouse_id UUID NOT NULL,
  product_id UUID NOT NULL,
  granted BIGINT NOT NULL,
  used BIGINT NOT NULL,
  returned BIGINT NOT NULL,
  expires_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  state TEXT NOT NULL,
  CONSTRAINT stock_quotas_pkey PRIMARY KEY (town_id, id)
);

DO $$ DECLARE t text; BEGIN
  FOREACH t IN ARRAY ARRAY['stock_counts', 'stock_quotas'] LOOP
    EXECUTE format('ALTER TABLE tallystick.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE tallystick.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY grant_town ON tallystick.%I AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()))', t);
    EXECUTE format('CREATE POLICY fence_town ON tallystick.%I AS RESTRICTIVE FOR ALL TO PUBLIC USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()))', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON tallystick.%I TO tallystick_api', t);
  END LOOP;
END $$;

-- What the office lists, and what the scheduler looks for. On a large installation make these CONCURRENTLY before
-- migrating: IF NOT EXISTS takes them as they are.
CREATE INDEX IF NOT EXISTS conflicts_listing_idx ON tallystick.conflicts (town_id, raised_at, id);
CREATE INDEX IF NOT EXISTS conflicts_state_idx ON tallystick.conflicts (town_id, state, raised_at, id);
CREATE INDEX IF NOT EXISTS conflicts_subject_idx ON tallystick.conflicts (town_id, subject_id);
CREATE INDEX IF NOT EXISTS tasks_state_idx ON tallystick.tasks (town_id, state, raised_at, id);
CREATE INDEX IF NOT EXISTS tasks_listing_idx ON tallystick.tasks (town_id, raised_at, id);
CREATE INDEX IF NOT EXISTS orders_undelivered_idx ON tallystick.orders (town_id) WHERE custody = 'undelivered';
CREATE INDEX IF NOT EXISTS stock_counts_listing_idx ON tallystick.stock_counts (town_id, received_at, id);
CREATE INDEX IF NOT EXISTS stock_quotas_holder_idx ON tallystick.stock_quotas (town_id, holder_id, id);
CREATE INDEX IF NOT EXISTS stubs_state_idx ON tallystick.stubs (town_id, state, since, id);

-- What customers and the office look up: the catalogue with its stock, a driver's jobs, an order's or a product's
-- movements. As above, make these CONCURRENTLY first where a table is large.
CREATE INDEX IF NOT EXISTS products_listing_idx ON tallystick.products (town_id, name, id);
CREATE INDEX IF NOT EXISTS stock_levels_product_idx ON tallystick.stock_levels (town_id, product_id);
CREATE INDEX IF NOT EXISTS town_products_product_idx ON tallystick.town_products (town_id, product_id, id);
CREATE INDEX IF NOT EXISTS fulfilments_order_idx ON tallystick.fulfilments (town_id, order_id, id);
CREATE INDEX IF NOT EXISTS dispatches_driver_idx ON tallystick.dispatches (town_id, driver_id, id);
CREATE INDEX IF NOT EXISTS stock_movements_product_idx
  ON tallystick.stock_movements (town_id, product_id, received_at, id);
CREATE INDEX IF NOT EXISTS stock_movements_order_idx ON tallystick.stock_movements (town_id, order_id);

RESET ROLE;
