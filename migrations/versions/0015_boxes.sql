-- What a revoked device hands in is kept by where it begins and ends: a box that begins earlier than one with the same
-- end holds lines that the other does not.
-- Only loosens: the code of the version before keeps what it kept, and notes a review with every box of that end.

SET ROLE tallystick_owner;

ALTER TABLE tallystick.sealed_uploads
  DROP CONSTRAINT sealed_uploads_pkey,
  ADD CONSTRAINT sealed_uploads_pkey PRIMARY KEY (town_id, device_id, to_seq, head_hash, from_seq);

RESET ROLE;
