-- The spine, version 1: every table, the two roles, row-level security and what may never be changed.
-- Run as a superuser (or the owner of the database) by `tallystick migrate`; the application logs in or switches to
-- tallystick_api, which owns nothing and cannot bypass row-level security.

DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tallystick_owner') THEN
    CREATE ROLE tallystick_owner NOLOGIN NOINHERIT NOBYPASSRLS;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tallystick_api') THEN
    CREATE ROLE tallystick_api LOGIN NOINHERIT NOBYPASSRLS NOSUPERUSER;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of this cluster was faster
END $$;
ALTER ROLE tallystick_api SET row_security = on;
ALTER ROLE tallystick_api SET idle_in_transaction_session_timeout = '5s';
ALTER ROLE tallystick_api SET statement_timeout = '10s';
ALTER ROLE tallystick_api SET lock_timeout = '3s';
-- A temporary table of the same name comes before every other unless its schema is named last; and there shall be none.
ALTER ROLE tallystick_api SET search_path = pg_catalog, tallystick, pg_temp;
ALTER ROLE tallystick_owner SET search_path = pg_catalog, tallystick, pg_temp;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
DO $$ BEGIN
  EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC, tallystick_api', current_database());
END $$;
CREATE SCHEMA tallystick AUTHORIZATION tallystick_owner;
SET ROLE tallystick_owner;

-- The towns of this transaction. Unset, '' (what a pooled connection holds after a local setting ended) and NULL all
-- mean: no town.
CREATE FUNCTION tallystick.current_towns() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE
  AS $$ SELECT nullif(current_setting('app.town_ids', true), '')::uuid[] $$;


CREATE TABLE tallystick.buckets (
  town_id UUID NOT NULL,
  bucket TEXT NOT NULL,
  version BIGINT NOT NULL,
  rows BIGINT NOT NULL,
  total NUMERIC(20, 0) NOT NULL,
  CONSTRAINT buckets_pkey PRIMARY KEY (town_id, bucket)
);

CREATE TABLE tallystick.change_sets (
  town_id UUID NOT NULL,
  device_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  version BIGINT NOT NULL,
  hash BYTEA NOT NULL,
  line BYTEA NOT NULL,
  signature TEXT,
  status TEXT NOT NULL,
  verdict BYTEA NOT NULL,
  CONSTRAINT change_sets_pkey PRIMARY KEY (town_id, device_id, seq)
);

CREATE INDEX change_sets_town_id_version_idx ON tallystick.change_sets (town_id, version);

CREATE TABLE tallystick.conflicts (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  kind TEXT NOT NULL,
  rule TEXT NOT NULL,
  sentence TEXT NOT NULL,
  subject_entity TEXT NOT NULL,
  subject_id UUID NOT NULL,
  device_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  operation TEXT NOT NULL,
  actor_id UUID NOT NULL,
  said JSONB NOT NULL,
  had JSONB NOT NULL,
  outcome TEXT NOT NULL,
  state TEXT NOT NULL,
  raised_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT conflicts_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.device_heads (
  town_id UUID NOT NULL,
  device_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  hash BYTEA NOT NULL,
  CONSTRAINT device_heads_pkey PRIMARY KEY (town_id, device_id)
)
 WITH (fillfactor = 50);

CREATE TABLE tallystick.device_keys (
  public_key TEXT NOT NULL,
  town_id UUID NOT NULL,
  device_id UUID NOT NULL,
  CONSTRAINT device_keys_pkey PRIMARY KEY (public_key)
);

CREATE TABLE tallystick.devices (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  user_id UUID,
  warehouse_id UUID,
  public_key TEXT NOT NULL,
  certificate TEXT NOT NULL,
  status TEXT NOT NULL,
  enrolled_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  ended_at TIMESTAMP(3) WITH TIME ZONE,
  reason TEXT,
  CONSTRAINT devices_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.dispatches (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  order_id UUID NOT NULL,
  driver_id UUID NOT NULL,
  attempt BIGINT NOT NULL,
  cod_due_minor BIGINT NOT NULL,
  currency TEXT NOT NULL,
  state TEXT NOT NULL,
  note TEXT NOT NULL,
  CONSTRAINT dispatches_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.enrolments (
  code_hash BYTEA NOT NULL,
  town_id UUID NOT NULL,
  role TEXT NOT NULL,
  user_id UUID,
  warehouse_id UUID,
  expires_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  public_key TEXT,
  CONSTRAINT enrolments_pkey PRIMARY KEY (code_hash)
);

CREATE TABLE tallystick.feed (
  town_id UUID NOT NULL,
  bucket TEXT NOT NULL,
  entity TEXT NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  body TEXT,
  CONSTRAINT feed_pkey PRIMARY KEY (town_id, bucket, entity, id)
);

CREATE INDEX feed_version_idx ON tallystick.feed (town_id, bucket, version);

CREATE TABLE tallystick.fork_lines (
  town_id UUID NOT NULL,
  device_id UUID NOT NULL,
  hash BYTEA NOT NULL,
  seq BIGINT NOT NULL,
  line BYTEA NOT NULL,
  received_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT fork_lines_pkey PRIMARY KEY (town_id, device_id, hash)
);

CREATE TABLE tallystick.fulfilments (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  order_id UUID NOT NULL,
  warehouse_id UUID NOT NULL,
  picker_id UUID NOT NULL,
  parcels BIGINT NOT NULL,
  state TEXT NOT NULL,
  CONSTRAINT fulfilments_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.journal (
  town_id UUID NOT NULL,
  version BIGINT NOT NULL,
  hash BYTEA NOT NULL,
  body BYTEA NOT NULL,
  signature TEXT NOT NULL,
  CONSTRAINT journal_pkey PRIMARY KEY (town_id, version)
);

CREATE TABLE tallystick.line_failures (
  town_id UUID NOT NULL,
  device_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  failures BIGINT NOT NULL,
  CONSTRAINT line_failures_pkey PRIMARY KEY (town_id, device_id, seq)
);

CREATE TABLE tallystick.messages (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  order_id UUID NOT NULL,
  text TEXT NOT NULL,
  written_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT messages_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.order_status_events (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  order_id UUID NOT NULL,
  from_status TEXT,
  to_status TEXT NOT NULL,
  from_custody TEXT,
  to_custody TEXT NOT NULL,
  is_implied BOOLEAN NOT NULL,
  actor_id UUID NOT NULL,
  device_id UUID NOT NULL,
  claimed_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  received_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  note TEXT NOT NULL,
  CONSTRAINT order_status_events_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.orders (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  number TEXT NOT NULL,
  warehouse_id UUID NOT NULL,
  customer_name TEXT NOT NULL,
  phone TEXT NOT NULL,
  address TEXT NOT NULL,
  lines JSONB NOT NULL,
  currency TEXT NOT NULL,
  total_minor BIGINT NOT NULL,
  paid_minor BIGINT NOT NULL,
  credit_minor BIGINT NOT NULL,
  payment_method TEXT NOT NULL,
  commercial TEXT NOT NULL,
  custody TEXT NOT NULL,
  payment TEXT NOT NULL,
  status TEXT NOT NULL,
  driver_id UUID,
  dispatch_id UUID,
  attempts BIGINT NOT NULL,
  placed_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  delivered_at TIMESTAMP(3) WITH TIME ZONE,
  CONSTRAINT orders_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.outbox (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  kind TEXT NOT NULL,
  data JSONB NOT NULL,
  version BIGINT NOT NULL,
  due_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  attempts BIGINT NOT NULL,
  done_at TIMESTAMP(3) WITH TIME ZONE,
  problem TEXT,
  traceparent TEXT,
  CONSTRAINT outbox_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX outbox_due_idx ON tallystick.outbox (town_id, due_at) WHERE done_at IS NULL;

CREATE TABLE tallystick.payments (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  order_id UUID NOT NULL,
  method TEXT NOT NULL,
  amount_minor BIGINT NOT NULL,
  currency TEXT NOT NULL,
  taken_by UUID NOT NULL,
  device_id UUID NOT NULL,
  taken_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  status TEXT NOT NULL,
  CONSTRAINT payments_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.pins (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  user_id UUID NOT NULL,
  roles JSONB NOT NULL,
  hash TEXT NOT NULL,
  CONSTRAINT pins_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.products (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  sku TEXT NOT NULL,
  name TEXT NOT NULL,
  unit TEXT NOT NULL,
  CONSTRAINT products_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.stock_levels (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  warehouse_id UUID NOT NULL,
  product_id UUID NOT NULL,
  on_hand BIGINT NOT NULL,
  reserved BIGINT NOT NULL,
  CONSTRAINT stock_levels_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.stock_movements (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  warehouse_id UUID NOT NULL,
  product_id UUID NOT NULL,
  on_hand_delta BIGINT NOT NULL,
  reserved_delta BIGINT NOT NULL,
  reason TEXT NOT NULL,
  order_id UUID,
  device_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  claimed_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  received_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT stock_movements_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.tasks (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  conflict_id UUID NOT NULL,
  kind TEXT NOT NULL,
  text TEXT NOT NULL,
  subject_entity TEXT NOT NULL,
  subject_id UUID NOT NULL,
  audience TEXT NOT NULL,
  state TEXT NOT NULL,
  raised_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT tasks_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.town_heads (
  town_id UUID NOT NULL,
  epoch UUID NOT NULL,
  version BIGINT NOT NULL,
  journal_hash BYTEA NOT NULL,
  CONSTRAINT town_heads_pkey PRIMARY KEY (town_id),
  CONSTRAINT town_heads_version_check CHECK (version >= 0),
  CONSTRAINT town_heads_hash_check CHECK (octet_length(journal_hash) = 32)
)
 WITH (fillfactor = 10);

CREATE TABLE tallystick.town_names (
  town_id UUID NOT NULL,
  name TEXT NOT NULL,
  CONSTRAINT town_names_pkey PRIMARY KEY (town_id)
);

CREATE TABLE tallystick.town_products (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  product_id UUID NOT NULL,
  price_minor BIGINT NOT NULL,
  currency TEXT NOT NULL,
  is_enabled BOOLEAN NOT NULL,
  CONSTRAINT town_products_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.towns (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  name TEXT NOT NULL,
  currency TEXT NOT NULL,
  time_zone TEXT NOT NULL,
  settings JSONB NOT NULL,
  CONSTRAINT towns_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.used_token_requests (
  jti TEXT NOT NULL,
  expires_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT used_token_requests_pkey PRIMARY KEY (jti)
);

CREATE TABLE tallystick.users (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  name TEXT NOT NULL,
  login TEXT NOT NULL,
  roles JSONB NOT NULL,
  is_active BOOLEAN NOT NULL,
  has_pin BOOLEAN NOT NULL,
  CONSTRAINT users_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.voided (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  device_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  CONSTRAINT voided_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.warehouses (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  name TEXT NOT NULL,
  CONSTRAINT warehouses_pkey PRIMARY KEY (town_id, id)
);


-- What is written once stays as it is, for the owner too.
CREATE FUNCTION tallystick.refuse() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$;
DO $$ DECLARE t text; BEGIN
  FOREACH t IN ARRAY ARRAY[
    'change_sets',
    'fork_lines',
    'journal',
    'messages',
    'order_status_events',
    'payments',
    'stock_movements'
  ] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tallystick.%I FOR EACH STATEMENT EXECUTE FUNCTION tallystick.refuse()', t);
  END LOOP;
END $$;

-- A town sees itself. The restrictive policy is a fence that a later, careless permissive one cannot widen.
DO $$ DECLARE t text; BEGIN
  FOREACH t IN ARRAY ARRAY[
    'buckets',
    'change_sets',
    'conflicts',
    'device_heads',
    'devices',
    'dispatches',
    'feed',
    'fork_lines',
    'fulfilments',
    'journal',
    'line_failures',
    'messages',
    'order_status_events',
    'orders',
    'outbox',
    'payments',
    'pins',
    'products',
    'stock_levels',
    'stock_movements',
    'tasks',
    'town_heads',
    'town_products',
    'towns',
    'users',
    'voided',
    'warehouses'
  ] LOOP
    EXECUTE format('ALTER TABLE tallystick.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE tallystick.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY grant_town ON tallystick.%I AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()))', t);
    EXECUTE format('CREATE POLICY fence_town ON tallystick.%I AS RESTRICTIVE FOR ALL TO PUBLIC USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()))', t);
    EXECUTE format('GRANT SELECT, INSERT ON tallystick.%I TO tallystick_api', t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY[
    'buckets',
    'conflicts',
    'device_heads',
    'devices',
    'dispatches',
    'feed',
    'fulfilments',
    'line_failures',
    'orders',
    'outbox',
    'pins',
    'products',
    'stock_levels',
    'tasks',
    'town_heads',
    'town_products',
    'towns',
    'users',
    'voided',
    'warehouses'
  ] LOOP
    EXECUTE format('GRANT UPDATE ON tallystick.%I TO tallystick_api', t);
  END LOOP;
END $$;

-- What has to be found before a town is known: names, enrolment codes, keys, token requests.
DO $$ DECLARE t text; BEGIN
  FOREACH t IN ARRAY ARRAY[
    'device_keys',
    'enrolments',
    'town_names',
    'used_token_requests'
  ] LOOP
    EXECUTE format('ALTER TABLE tallystick.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE tallystick.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY grant_all ON tallystick.%I AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT ON tallystick.%I TO tallystick_api', t);
  END LOOP;
END $$;
-- A code is used up by one key for ever, whatever a statement of the application may forget to ask.
CREATE FUNCTION tallystick.refuse_another_key() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN RAISE EXCEPTION 'the code was used by another key'; END $$;
CREATE TRIGGER one_key BEFORE UPDATE ON tallystick.enrolments FOR EACH ROW
  WHEN (OLD.public_key IS NOT NULL AND NEW.public_key IS DISTINCT FROM OLD.public_key)
  EXECUTE FUNCTION tallystick.refuse_another_key();
GRANT UPDATE (public_key) ON tallystick.enrolments TO tallystick_api;
GRANT DELETE ON tallystick.used_token_requests, tallystick.enrolments TO tallystick_api;

GRANT USAGE ON SCHEMA tallystick TO tallystick_api;
RESET ROLE;
GRANT USAGE ON SCHEMA tallystick_meta TO tallystick_api;
GRANT SELECT ON ALL TABLES IN SCHEMA tallystick_meta TO tallystick_api;
