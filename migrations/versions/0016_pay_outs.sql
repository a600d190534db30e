-- What providers had taken for the town and have paid out to the bank.
-- Only adds: the code of the version before runs on this schema as it did.

SET ROLE tallystick_owner;

CREATE TABLE tallystick.pay_outs (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  version BIGINT NOT NULL,
  method TEXT NOT NULL,
  amount_minor BIGINT NOT NULL,
  fee_minor BIGINT NOT NULL,
  currency TEXT NOT NULL,
  reference TEXT NOT NULL,
  booked_by UUID NOT NULL,
  booked_at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT pay_outs_pkey PRIMARY KEY (town_id, id)
);

CREATE INDEX pay_outs_listing_idx ON tallystick.pay_outs (town_id, booked_at, id);

-- As 0001 has it: what is written once is not changed, and a town sees itself.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tallystick.pay_outs
  FOR EACH STATEMENT EXECUTE FUNCTION tallystick.refuse();
ALTER TABLE tallystick.pay_outs ENABLE ROW LEVEL SECURITY;
ALTER TABLE tallystick.pay_outs FORCE ROW LEVEL SECURITY;
CREATE POLICY grant_town ON tallystick.pay_outs AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
CREATE POLICY fence_town ON tallystick.pay_outs AS RESTRICTIVE FOR ALL TO PUBLIC
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
GRANT SELECT, INSERT ON tallystick.pay_outs TO tallystick_api;

RESET ROLE;
