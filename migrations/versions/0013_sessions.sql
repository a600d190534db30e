-- Who is signed in, and what that person is in which towns: one statement, which every request of a person begins with.
-- Only adds: the code of the version before runs on this schema as it did.

SET ROLE tallystick_owner;

-- Which towns the account is in is set for row-level security before their users are read, for this transaction alone.
-- It runs as whoever calls it and may see nothing that they may not.
CREATE FUNCTION tallystick.open_session(
  token BYTEA, at TIMESTAMP WITH TIME ZONE, idle_since TIMESTAMP WITH TIME ZONE, touched_since TIMESTAMP WITH TIME ZONE
) RETURNS TABLE (
  account_id UUID, email TEXT, has_second_factor BOOLEAN, proven_at TIMESTAMP WITH TIME ZONE,
  expires_at TIMESTAMP WITH TIME ZONE, memberships JSONB
) LANGUAGE plpgsql AS $$
DECLARE
  seen_at TIMESTAMP WITH TIME ZONE;
BEGIN
  SELECT a.id, a.email, a.totp_is_confirmed, s.proven_at, s.expires_at, s.seen_at
  INTO account_id, email, has_second_factor, proven_at, expires_at, seen_at
  FROM tallystick.sessions AS s JOIN tallystick.accounts AS a ON a.id = s.account_id
  WHERE s.token_hash = token AND s.expires_at > at AND s.seen_at > idle_since;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  PERFORM set_config('app.town_ids', '{' || coalesce(string_agg(m.town_id::text, ','), '') || '}', true)
  FROM tallystick.account_towns AS m WHERE m.account_id = open_session.account_id;
  SELECT coalesce(jsonb_agg(
    jsonb_build_array(u.town_id, n.name, u.id, u.name, u.roles, u.school_id) ORDER BY n.name, u.town_id
  ), '[]') INTO memberships
  FROM tallystick.account_towns AS m
  JOIN tallystick.users AS u ON u.town_id = m.town_id AND u.id = m.user_id AND u.is_active
  JOIN tallystick.town_names AS n ON n.town_id = m.town_id
  WHERE m.account_id = open_session.account_id;
  IF seen_at < touched_since THEN
    UPDATE tallystick.sessions AS s SET seen_at = at WHERE s.token_hash = token AND s.seen_at < touched_since;
  END IF;
  RETURN NEXT;
END $$;

RESET ROLE;
