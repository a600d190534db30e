-- Money: invoices, credit, refunds, drawers, books in double entry; receipts, schools.
-- Only adds: the code of the version before runs on this schema as it did.

SET ROLE tallystick_owner;

-- A payment may be for an invoice from now on.
ALTER TABLE tallystick.payments
  ALTER COLUMN order_id DROP NOT NULL,
  ADD COLUMN invoice_id UUID,
  ADD COLUMN reference TEXT,
  ADD COLUMN payer TEXT,
  ADD COLUMN drawer_id UUID;
ALTER TABLE tallystick.devices ADD COLUMN school_id UUID;
ALTER TABLE tallystick.town_products
  ADD COLUMN changed_at TIMESTAMP(3) WITH TIME ZONE,
  ADD COLUMN changed_version BIGINT;
ALTER TABLE tallystick.enrolments ADD COLUMN school_id UUID;

-- On a large installation make these CONCURRENTLY before migrating, the first once the column is there: IF NOT EXISTS
-- takes them as they are.
CREATE INDEX IF NOT EXISTS payments_invoice_idx ON tallystick.payments (town_id, invoice_id);
CREATE INDEX IF NOT EXISTS payments_listing_idx ON tallystick.payments (town_id, taken_at, id);

CREATE TABLE tallystick.parties (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  phone TEXT NOT NULL,
  source_entity TEXT,
  source_id UUID,
  CONSTRAINT parties_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX parties_source_idx ON tallystick.parties (town_id, source_id);

CREATE TABLE tallystick.invoices (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  party_id UUID NOT NULL,
  source_entity TEXT,
  source_id UUID,
  school_id UUID,
  title TEXT NOT NULL,
  lines JSONB NOT NULL,
  currency TEXT NOT NULL,
  total_minor BIGINT NOT NULL,
  paid_minor BIGINT NOT NULL,
  remaining_minor BIGINT NOT NULL,
  due_on TEXT,
  state TEXT NOT NULL,
  issued_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT invoices_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX invoices_listing_idx ON tallystick.invoices (town_id, issued_at, id);
CREATE INDEX invoices_party_idx ON tallystick.invoices (town_id, party_id, issued_at, id);
CREATE INDEX invoices_school_idx ON tallystick.invoices (town_id, school_id, issued_at, id);

CREATE TABLE tallystick.settlements (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  device_id UUID NOT NULL,
  order_id UUID,
  invoice_id UUID,
  status TEXT NOT NULL,
  amount_minor BIGINT NOT NULL,
  currency TEXT NOT NULL,
  suspense_minor BIGINT NOT NULL,
  allocated_minor BIGINT NOT NULL,
  credited_minor BIGINT NOT NULL,
  parked_minor BIGINT NOT NULL,
  refunded_minor BIGINT NOT NULL,
  is_parked BOOLEAN NOT NULL,
  reference TEXT NOT NULL,
  reason TEXT NOT NULL,
  changed_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT settlements_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX settlements_status_idx ON tallystick.settlements (town_id, status, changed_at, id);
CREATE INDEX settlements_order_idx ON tallystick.settlements (town_id, order_id);

CREATE TABLE tallystick.payment_events (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  payment_id UUID NOT NULL,
  operation TEXT NOT NULL,
  from_status TEXT NOT NULL,
  to_status TEXT NOT NULL,
  amount_minor BIGINT NOT NULL,
  currency TEXT NOT NULL,
  reference TEXT NOT NULL,
  reason TEXT NOT NULL,
  actor_id UUID NOT NULL,
  device_id UUID NOT NULL,
  claimed_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  received_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT payment_events_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX payment_events_payment_idx ON tallystick.payment_events (town_id, payment_id);

CREATE TABLE tallystick.payment_marks (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  payment_id UUID NOT NULL,
  actor_id UUID NOT NULL,
  at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  seq BIGINT NOT NULL,
  CONSTRAINT payment_marks_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.allocations (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  invoice_id UUID NOT NULL,
  payment_id UUID,
  party_id UUID NOT NULL,
  amount_minor BIGINT NOT NULL,
  currency TEXT NOT NULL,
  booked_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT allocations_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX allocations_invoice_idx ON tallystick.allocations (town_id, invoice_id);
CREATE INDEX allocations_payment_idx ON tallystick.allocations (town_id, payment_id);

CREATE TABLE tallystick.credits (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  party_id UUID NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  currency TEXT NOT NULL,
  left_minor BIGINT NOT NULL,
  CONSTRAINT credits_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX credits_party_idx ON tallystick.credits (town_id, party_id);

CREATE TABLE tallystick.refunds (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  payment_id UUID NOT NULL,
  amount_minor BIGINT NOT NULL,
  currency TEXT NOT NULL,
  method TEXT NOT NULL,
  reason TEXT NOT NULL,
  state TEXT NOT NULL,
  paid_minor BIGINT NOT NULL,
  device_id UUID NOT NULL,
  requested_by UUID NOT NULL,
  requested_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  decided_by UUID,
  paid_by UUID,
  reference TEXT NOT NULL,
  CONSTRAINT refunds_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX refunds_payment_idx ON tallystick.refunds (town_id, payment_id);
CREATE INDEX refunds_state_idx ON tallystick.refunds (town_id, state, requested_at, id);

CREATE TABLE tallystick.tills (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  device_id UUID NOT NULL,
  holder_id UUID NOT NULL,
  session_id UUID NOT NULL,
  CONSTRAINT tills_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.drawer_sessions (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  device_id UUID NOT NULL,
  holder_id UUID NOT NULL,
  is_implied BOOLEAN NOT NULL,
  opening JSONB NOT NULL,
  expected JSONB NOT NULL,
  counted JSONB,
  differences JSONB,
  reports BIGINT NOT NULL,
  state TEXT NOT NULL,
  opened_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  counted_at TIMESTAMP(3) WITH TIME ZONE,
  closed_at TIMESTAMP(3) WITH TIME ZONE,
  closed_by UUID,
  closed_version BIGINT,
  CONSTRAINT drawer_sessions_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX drawer_sessions_state_idx ON tallystick.drawer_sessions (town_id, state, opened_at, id);

CREATE TABLE tallystick.drawer_reports (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  drawer_id UUID NOT NULL,
  device_id UUID NOT NULL,
  number BIGINT NOT NULL,
  opening JSONB NOT NULL,
  expected JSONB NOT NULL,
  counted JSONB NOT NULL,
  differences JSONB NOT NULL,
  late_payment_id UUID,
  made_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT drawer_reports_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX drawer_reports_drawer_idx ON tallystick.drawer_reports (town_id, drawer_id, number);

CREATE TABLE tallystick.journal_entries (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  account TEXT NOT NULL,
  debit_minor BIGINT NOT NULL,
  credit_minor BIGINT NOT NULL,
  currency TEXT NOT NULL,
  party_id UUID,
  invoice_id UUID,
  payment_id UUID,
  drawer_id UUID,
  device_id UUID NOT NULL,
  seq BIGINT NOT NULL,
  claimed_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  booked_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT journal_entries_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX journal_entries_account_idx ON tallystick.journal_entries (town_id, account, version);
CREATE INDEX journal_entries_party_idx ON tallystick.journal_entries (town_id, party_id, version, id);
CREATE INDEX journal_entries_source_idx ON tallystick.journal_entries (town_id, device_id, seq, id);

CREATE TABLE tallystick.receipts (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  device_id UUID NOT NULL,
  number BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  line_seq BIGINT NOT NULL,
  payment_ids JSONB NOT NULL,
  given_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT receipts_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.schools (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  school_id UUID NOT NULL,
  name TEXT NOT NULL,
  CONSTRAINT schools_pkey PRIMARY KEY (town_id, id)
);

CREATE TABLE tallystick.students (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  school_id UUID NOT NULL,
  party_id UUID NOT NULL,
  number TEXT NOT NULL,
  name TEXT NOT NULL,
  class_name TEXT NOT NULL,
  phone TEXT NOT NULL,
  state TEXT NOT NULL,
  invoices BIGINT NOT NULL,
  CONSTRAINT students_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX students_school_idx ON tallystick.students (town_id, school_id, class_name, name, id);

CREATE TABLE tallystick.fee_schedules (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  school_id UUID NOT NULL,
  title TEXT NOT NULL,
  lines JSONB NOT NULL,
  total_minor BIGINT NOT NULL,
  currency TEXT NOT NULL,
  due_on TEXT NOT NULL,
  students BIGINT NOT NULL,
  issued_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT fee_schedules_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX fee_schedules_school_idx ON tallystick.fee_schedules (town_id, school_id, issued_at, id);

-- As 0001 has it: what is written once is not changed, and a town sees itself.
DO $$ DECLARE t text; BEGIN
  FOREACH t IN ARRAY ARRAY['payment_events', 'allocations', 'drawer_reports', 'journal_entries', 'receipts'] LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tallystick.%I FOR EACH STATEMENT EXECUTE FUNCTION tallystick.refuse()', t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY[
    'parties', 'invoices', 'settlements', 'payment_events', 'payment_marks', 'allocations', 'credits', 'refunds',
    'tills', 'drawer_sessions', 'drawer_reports', 'journal_entries', 'receipts', 'schools', 'students', 'fee_schedules'
  ] LOOP
    EXECUTE format('ALTER TABLE tallystick.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE tallystick.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY grant_town ON tallystick.%I AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()))', t);
    EXECUTE format('CREATE POLICY fence_town ON tallystick.%I AS RESTRICTIVE FOR ALL TO PUBLIC USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()))', t);
    EXECUTE format('GRANT SELECT, INSERT ON tallystick.%I TO tallystick_api', t);
  END LOOP;
  FOREACH t IN ARRAY ARRAY[
    'parties', 'invoices', 'settlements', 'payment_marks', 'credits', 'refunds', 'tills', 'drawer_sessions', 'schools', 'students', 'fee_schedules'
  ] LOOP
    EXECUTE format('GRANT UPDATE ON tallystick.%I TO tallystick_api', t);
  END LOOP;
END $$;

-- No money out of nothing: at the end of a transaction the entries of each change set it has written balance.
-- Its settings: the first row comes out of journal_entries_source_idx also while nothing is known of a new table.
CREATE FUNCTION tallystick.refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql
  SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
  first uuid;
  off record;
BEGIN
  -- Once for a change set, by the first of its rows. Rows of a savepoint have another xmin: each looks for itself.
  SELECT id INTO first FROM tallystick.journal_entries
  WHERE town_id = NEW.town_id AND device_id = NEW.device_id AND seq = NEW.seq AND xmin = pg_current_xact_id()::xid
  ORDER BY id LIMIT 1;
  IF first <> NEW.id THEN
    RETURN NULL;
  END IF;
  SELECT currency, sum(debit_minor) - sum(credit_minor) AS minor INTO off FROM tallystick.journal_entries
  WHERE town_id = NEW.town_id AND device_id = NEW.device_id AND seq = NEW.seq
  GROUP BY currency HAVING sum(debit_minor) <> sum(credit_minor) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'the entries of change set % of device % are off by % minor units of %',
      NEW.seq, NEW.device_id, off.minor, off.currency USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON tallystick.journal_entries
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tallystick.refuse_unbalanced();

RESET ROLE;
