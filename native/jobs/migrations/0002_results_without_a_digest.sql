-- A result that the store put together from its sources has been read by nobody, so its digest is not known.
ALTER TABLE assets DROP CONSTRAINT assets_result_is_complete;
-- a result is never half there
ALTER TABLE assets ADD CONSTRAINT assets_result_is_complete CHECK (job IS NULL OR state <> 'uploading');
