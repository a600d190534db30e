-- How reminders ended that leave by themselves. What is on its way is on the agenda, under the reminder's id.
-- Only adds: the code of the version before runs on this schema as it did.

SET ROLE tallystick_owner;

CREATE TABLE tallystick.reminder_outcomes (
  town_id UUID NOT NULL,
  id UUID NOT NULL,
  outcome TEXT NOT NULL,
  why TEXT NOT NULL,
  at TIMESTAMP(3) WITH TIME ZONE NOT NULL,
  CONSTRAINT reminder_outcomes_pkey PRIMARY KEY (town_id, id)
);

ALTER TABLE tallystick.reminder_outcomes ENABLE ROW LEVEL SECURITY;
ALTER TABLE tallystick.reminder_outcomes FORCE ROW LEVEL SECURITY;
CREATE POLICY grant_town ON tallystick.reminder_outcomes AS PERMISSIVE FOR ALL TO tallystick_api, tallystick_owner
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
CREATE POLICY fence_town ON tallystick.reminder_outcomes AS RESTRICTIVE FOR ALL TO PUBLIC
  USING (town_id = ANY (tallystick.current_towns())) WITH CHECK (town_id = ANY (tallystick.current_towns()));
GRANT SELECT, INSERT ON tallystick.reminder_outcomes TO tallystick_api;

RESET ROLE;
