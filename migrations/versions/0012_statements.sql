-- What workers make of the books, all of which can be made again: statements, papers, reminders; and the agenda.
-- Only adds: the code of the version before runs on this schema as it did.

SET ROLE tallystick_owner;

-- Which accounts have changed since a version; entries come in the order of versions, so they go to the index's end.
CREATE INDEX journal_entries_version_idx ON tallystick.journal_entries (town_id, version);

CREATE TABLE tallystick.statements (
  town_id UUID NOT NULL,
  kind TEXT NOT NULL,
  owner_id UUID NOT NULL,
  version BIGINT NOT NULL,
  accounts BIGINT NOT NULL,
  made_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  body TEXT NOT NULL,
  CONSTRAINT statements_pkey PRIMARY KEY (town_id, kind, owner_id)
);

CREATE TABLE tallystick.statement_marks (
  town_id UUID NOT NULL,
  version BIGINT NOT NULL,
  CONSTRAINT statement_marks_pkey PRIMARY KEY (town_id)
);

CREATE TABLE tallystick.agenda (
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
  CONSTRAINT agenda_pkey PRIMARY KEY (town_id, id)
);
CREATE INDEX agenda_due_idx ON tallystick.agenda (town_id, due_at) WHERE done_at IS NULL;

CREATE TABLE tallystick.papers (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  name TEXT NOT NULL,
  media_type TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  made_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT papers_pkey PRIMARY KEY (town_id, id),
  CONSTRAINT papers_sha256_check CHECK (sha256 ~ '^[0-9a-f]{64}$')
);

CREATE TABLE tallystick.reminders (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  invoice_id UUID NOT NULL,
  number BIGINT NOT NULL,
  phone TEXT NOT NULL,
  text TEXT NOT NULL,
  written_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT reminders_pkey PRIMARY KEY (town_id, id)
);
CREATE INDEX reminders_invoice_idx ON tallystick.reminders (town_id, invoice_id);
CREATE INDEX invoices_due_idx ON tallystick.invoices (town_id, due_on)
  WHERE state IN ('PENDING', 'PARTIALLY_PAID') AND due_on IS NOT NULL;

DO $$
DECLARE
  t TEXT;
BEGIN
  FOREACH t IN ARRAY ARRAY['statements', 'statement_marks', 'agenda', 'papers', 'reminders'] LOOP
    EXECUTE format('ALTER TABLE tallystick.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE tallystick.%I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY grant_town ON tallystick.%I AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner '
      'USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()))', t);
    EXECUTE format('CREATE POLICY fence_town ON tallystick.%I AS RESTRICTIVE FOR ALL TO PUBLIC '
      'USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()))', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON tallystick.%I TO tallystick_api', t);
  END LOOP;
END $$;
REVOKE UPDATE, DELETE ON tallystick.reminders FROM tallystick_api;

RESET ROLE;
