-- The doors for people, version 2: accounts and their sessions, tries to sign in, and requests that were answered.
-- Only adds: the code of version 1 runs on this schema as it did.

SET ROLE tallystick_owner;

CREATE TABLE tallystick.accounts (
  id UUID NOT NULL,
  email TEXT NOT NULL,
  password_hash TEXT NOT NULL,
  totp_secret BYTEA,
  totp_is_confirmed BOOLEAN NOT NULL,
  totp_step BIGINT NOT NULL,
  recovery_codes BYTEA[] NOT NULL,
  made_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT accounts_pkey PRIMARY KEY (id),
  CONSTRAINT accounts_email_key UNIQUE (email)
);

CREATE TABLE tallystick.account_towns (
  account_id UUID NOT NULL,
  town_id UUID NOT NULL,
  user_id UUID NOT NULL,
  CONSTRAINT account_towns_pkey PRIMARY KEY (account_id, town_id),
  CONSTRAINT account_towns_town_id_user_id_key UNIQUE (town_id, user_id)
);

CREATE TABLE tallystick.sessions (
  token_hash BYTEA NOT NULL,
  account_id UUID NOT NULL,
  proven_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  seen_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  expires_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT sessions_pkey PRIMARY KEY (token_hash),
  CONSTRAINT sessions_hash_check CHECK (octet_length(token_hash) = 32)
);

CREATE INDEX sessions_account_id_idx ON tallystick.sessions (account_id);

CREATE TABLE tallystick.sign_in_tries (
  subject BYTEA NOT NULL,
  failures BIGINT NOT NULL,
  failed_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  locked_until TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT sign_in_tries_pkey PRIMARY KEY (subject)
);

CREATE TABLE tallystick.idempotency (
  town_id UUID NOT NULL,
  principal_id UUID NOT NULL,
  key TEXT NOT NULL,
  request_hash BYTEA NOT NULL,
  seq BIGINT NOT NULL,
  made_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT idempotency_pkey PRIMARY KEY (town_id, principal_id, key)
);

-- What the office lists and looks up. On a large installation make these CONCURRENTLY before migrating: IF NOT EXISTS
-- takes them as they are.
CREATE INDEX IF NOT EXISTS orders_listing_idx ON tallystick.orders (town_id, placed_at, id);
CREATE INDEX IF NOT EXISTS order_status_events_order_idx ON tallystick.order_status_events (town_id, order_id);
CREATE INDEX IF NOT EXISTS payments_order_idx ON tallystick.payments (town_id, order_id);
CREATE INDEX IF NOT EXISTS dispatches_order_idx ON tallystick.dispatches (town_id, order_id);
CREATE INDEX IF NOT EXISTS stock_movements_listing_idx ON tallystick.stock_movements (town_id, received_at, id);

-- As 0001 has it: a town sees itself, and a restrictive fence that no later policy can widen.
ALTER TABLE tallystick.idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE tallystick.idempotency FORCE ROW LEVEL SECURITY;
CREATE POLICY grant_town ON tallystick.idempotency AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
CREATE POLICY fence_town ON tallystick.idempotency AS RESTRICTIVE FOR ALL TO PUBLIC
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
GRANT SELECT, INSERT, DELETE ON tallystick.idempotency TO tallystick_api;

-- What has to be found before a town is known: who somebody is, and in which towns.
DO $$ DECLARE t text; BEGIN
  FOREACH t IN ARRAY ARRAY['account_towns', 'accounts', 'sessions', 'sign_in_tries'] LOOP
    EXECUTE format('ALTER TABLE tallystick.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE tallystick.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY grant_all ON tallystick.%I AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner USING (true) WITH CHECK (true)', t);
    EXECUTE format('GRANT SELECT, INSERT ON tallystick.%I TO tallystick_api', t);
  END LOOP;
END $$;
GRANT UPDATE (password_hash, totp_secret, totp_is_confirmed, totp_step, recovery_codes)
  ON tallystick.accounts TO tallystick_api;
GRANT UPDATE (seen_at) ON tallystick.sessions TO tallystick_api;
GRANT UPDATE (failures, failed_at, locked_until) ON tallystick.sign_in_tries TO tallystick_api;
GRANT DELETE ON tallystick.sessions, tallystick.sign_in_tries TO tallystick_api;

RESET ROLE;
