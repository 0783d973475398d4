-- All statements of native/jobs. Grammar: a line "-- name --", a line with one sentence, the statement.
-- A transition, its event and its outbox row are one statement: a paused worker never holds a row lock between two of them.
-- Every statement may be sent again when its answer was lost: it then finds its own traces and answers the same.

-- hold_owner --
-- Let one accept of an owner run at a time until the transaction ends, so that the quota is exact. --
SELECT pg_advisory_xact_lock(1853252203, hashtext(%(owner)s))

-- accept_job --
-- Remember a job, unless its key is known or the owner has too many waiting. --
WITH room AS (
    SELECT count(*) < %(max_queued)s AS free FROM jobs WHERE owner = %(owner)s AND state = 'queued'
), accepted AS (
    INSERT INTO jobs (id, owner, operation, request, request_hash, idempotency_key, call_id)
    SELECT %(id)s, %(owner)s, %(operation)s, %(request)s, %(request_hash)s, %(idempotency_key)s, %(call_id)s FROM room WHERE free
    ON CONFLICT DO NOTHING
    RETURNING *
), told AS (
    INSERT INTO events (job, transition, attempt) SELECT id, 'accepted', attempt FROM accepted
)
SELECT * FROM accepted

-- find_accepted --
-- The job that an accept made, now or before. --
SELECT * FROM jobs WHERE id = %(id)s OR (owner = %(owner)s AND idempotency_key = %(idempotency_key)s)

-- retry_job --
-- A new job with the request of one that failed or was cancelled, unless such a retry is still going on. --
WITH room AS (
    SELECT count(*) < %(max_queued)s AS free FROM jobs WHERE owner = %(owner)s AND state = 'queued'
), accepted AS (
    INSERT INTO jobs (id, owner, operation, request, request_hash, call_id, retry_of)
    SELECT %(id)s, owner, operation, request, request_hash, call_id, id FROM jobs, room
    WHERE id = %(original)s AND owner = %(owner)s AND state IN ('failed', 'cancelled') AND free
    ON CONFLICT DO NOTHING
    RETURNING *
), told AS (
    INSERT INTO events (job, transition, attempt, facts)
    SELECT id, 'accepted', attempt, jsonb_build_object('retry_of', retry_of) FROM accepted
)
SELECT * FROM accepted

-- find_retry --
-- The retry of a job that was made just now or is still going on. --
SELECT * FROM jobs WHERE id = %(id)s OR (retry_of = %(original)s AND owner = %(owner)s AND state IN ('queued', 'running'))

-- get_job --
-- One job of its owner. --
SELECT * FROM jobs WHERE id = %(id)s AND owner = %(owner)s

-- list_jobs --
-- An owner's jobs older than the cursor, newest first. --
SELECT * FROM jobs
WHERE owner = %(owner)s
    AND (created_at, id) < (%(before)s::timestamptz, %(before_id)s::uuid)
    AND (%(state)s::job_state IS NULL OR state = %(state)s::job_state)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s

-- list_events --
-- What happened to a job after the event named. --
SELECT events.id, transition, events.attempt, at, facts
FROM events JOIN jobs ON jobs.id = events.job
WHERE job = %(id)s AND owner = %(owner)s AND events.id > %(after)s
ORDER BY events.id

-- cancel_job --
-- End a waiting job at once; ask the worker of a running one. --
WITH asked AS (
    UPDATE jobs SET
        state = CASE state WHEN 'queued' THEN 'cancelled' ELSE state END,
        finished_at = CASE state WHEN 'queued' THEN now() END,
        cancel_requested_at = now()
    WHERE id = %(id)s AND owner = %(owner)s AND state IN ('queued', 'running') AND cancel_requested_at IS NULL
    RETURNING *
), told AS (
    INSERT INTO events (job, transition, attempt)
    SELECT id, (CASE state WHEN 'cancelled' THEN 'withdrawn' ELSE 'cancel_requested' END)::job_transition, attempt FROM asked
), noted AS (
    INSERT INTO outbox (id, job, owner, state) SELECT id || ':' || state, id, owner, state FROM asked WHERE state = 'cancelled'
)
SELECT * FROM asked

-- claim_job --
-- Make a waiting job this caller's, under a new attempt number; a caller who claims again with the same name gets the same attempt. --
WITH waiting AS (
    SELECT id, not_before AS waiting_since FROM jobs
    WHERE id = %(id)s AND state = 'queued' AND not_before <= now() AND (%(operation)s::text IS NULL OR operation = %(operation)s)
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE jobs SET
        state = 'running',
        attempt = attempt + 1,
        claimant = %(claimant)s,
        lease_until = now() + make_interval(secs => %(lease_seconds)s),
        started_at = coalesce(started_at, now())
    FROM waiting WHERE jobs.id = waiting.id
    RETURNING jobs.*, extract(epoch FROM now() - waiting_since)::float8 AS queued_seconds
), told AS (
    INSERT INTO events (job, transition, attempt) SELECT id, 'claimed', attempt FROM claimed
)
SELECT * FROM claimed
UNION ALL
SELECT *, extract(epoch FROM now() - not_before)::float8 FROM jobs
WHERE id = %(id)s AND claimant = %(claimant)s AND state = 'running'

-- beat --
-- Extend an attempt's lease and note how far it is; says whether its owner wants it cancelled. --
UPDATE jobs SET
    lease_until = now() + make_interval(secs => %(lease_seconds)s),
    stage = %(stage)s,
    progress = %(progress)s
WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s
RETURNING cancel_requested_at IS NOT NULL AS cancel

-- look --
-- Whether an attempt still owns its job, and whether it is to be cancelled. --
SELECT cancel_requested_at IS NOT NULL AS cancel FROM jobs
WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s

-- succeed --
-- Make the result the job's, if the attempt still owns it and nobody has cancelled it; then it is cancelled instead. --
WITH ended AS (
    UPDATE jobs SET
        state = CASE WHEN cancel_requested_at IS NULL THEN 'succeeded'::job_state ELSE 'cancelled'::job_state END,
        result = CASE WHEN cancel_requested_at IS NULL THEN %(result)s::jsonb END,
        warnings = CASE WHEN cancel_requested_at IS NULL THEN %(warnings)s::jsonb ELSE warnings END,
        stage = CASE WHEN cancel_requested_at IS NULL THEN 'done' ELSE stage END,
        lease_until = NULL,
        finished_at = now()
    WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s
    RETURNING *
), recorded AS (
    INSERT INTO assets (id, owner, name, bucket, key, size, type, state, sha256, media, job)
    SELECT %(asset)s, owner, %(name)s, %(bucket)s, %(key)s, %(size)s, %(type)s, 'ready', %(sha256)s, %(media)s, id
    FROM ended WHERE state = 'succeeded'
), told AS (
    INSERT INTO events (job, transition, attempt, facts)
    SELECT id, state::text::job_transition, attempt,
        CASE state WHEN 'succeeded' THEN jsonb_build_object('asset', %(asset)s::uuid) ELSE '{}' END
    FROM ended
), noted AS (
    INSERT INTO outbox (id, job, owner, state) SELECT id || ':' || state, id, owner, state FROM ended
)
SELECT EXISTS (SELECT FROM ended WHERE state = 'succeeded')
    OR EXISTS (SELECT FROM assets WHERE id = %(asset)s AND job = %(id)s) AS done

-- fail --
-- End an attempt that could not do it: try again later when that may help, else the job has failed. --
WITH ended AS (
    UPDATE jobs SET
        state = next.state,
        error = CASE next.state WHEN 'failed' THEN %(error)s::jsonb END,
        failures = failures + 1,
        finished_at = CASE next.state WHEN 'queued' THEN NULL ELSE now() END,
        lease_until = NULL,
        -- 1, 2, 4 … times the back-off, give or take a quarter so that jobs that failed together do not come back together
        not_before = now() + make_interval(secs => %(backoff_seconds)s * 2 ^ least(failures, 6) * (0.75 + random() / 2)),
        rung_at = NULL,
        rings = 0,
        stage = CASE next.state WHEN 'queued' THEN 'accepted' ELSE stage END,
        progress = CASE next.state WHEN 'queued' THEN '{}' ELSE progress END
    FROM (
        SELECT id AS job, (CASE
            WHEN NOT %(retryable)s THEN 'failed'
            WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
            WHEN failures + 1 >= %(max_failures)s THEN 'failed'
            ELSE 'queued'
        END)::job_state AS state
        FROM jobs WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s
        FOR UPDATE
    ) AS next
    WHERE id = next.job
    RETURNING jobs.*
), told AS (
    INSERT INTO events (job, transition, attempt, facts)
    SELECT id, (CASE state WHEN 'queued' THEN 'retried' ELSE state::text END)::job_transition, attempt,
        jsonb_build_object('error', %(error)s::jsonb)
    FROM ended
), noted AS (
    INSERT INTO outbox (id, job, owner, state) SELECT id || ':' || state, id, owner, state FROM ended WHERE state <> 'queued'
)
SELECT EXISTS (SELECT FROM ended)
    OR EXISTS (
        SELECT FROM events
        WHERE job = %(id)s AND attempt = %(attempt)s AND transition IN ('retried', 'failed')
    ) AS done

-- cancelled --
-- End an attempt whose owner does not want it any more. --
WITH ended AS (
    UPDATE jobs SET
        state = 'cancelled',
        cancel_requested_at = coalesce(cancel_requested_at, now()),
        lease_until = NULL,
        finished_at = now()
    WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s
    RETURNING *
), told AS (
    INSERT INTO events (job, transition, attempt) SELECT id, 'cancelled', attempt FROM ended
), noted AS (
    INSERT INTO outbox (id, job, owner, state) SELECT id || ':' || state, id, owner, state FROM ended
)
SELECT EXISTS (SELECT FROM ended)
    OR EXISTS (SELECT FROM events WHERE job = %(id)s AND attempt = %(attempt)s AND transition = 'cancelled') AS done

-- release --
-- Give a job back because its worker stops; it is nobody's fault and counts as no loss. --
WITH ended AS (
    UPDATE jobs SET
        state = CASE WHEN cancel_requested_at IS NULL THEN 'queued'::job_state ELSE 'cancelled'::job_state END,
        finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN now() END,
        lease_until = NULL,
        not_before = now(),
        rung_at = NULL,
        rings = 0,
        stage = 'accepted',
        progress = '{}'
    WHERE id = %(id)s AND state = 'running' AND attempt = %(attempt)s
    RETURNING *
), told AS (
    INSERT INTO events (job, transition, attempt)
    SELECT id, (CASE state WHEN 'queued' THEN 'released' ELSE 'cancelled' END)::job_transition, attempt FROM ended
), noted AS (
    INSERT INTO outbox (id, job, owner, state) SELECT id || ':' || state, id, owner, state FROM ended WHERE state = 'cancelled'
)
SELECT EXISTS (SELECT FROM ended)
    OR EXISTS (SELECT FROM events WHERE job = %(id)s AND attempt = %(attempt)s AND transition = 'released') AS done

-- reap --
-- Take jobs away from workers that have not been heard of; rows that somebody holds are left for the next round. --
WITH expired AS (
    SELECT id AS job, (CASE
        WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
        WHEN lost + 1 >= %(max_lost)s THEN 'failed'
        ELSE 'queued'
    END)::job_state AS next
    FROM jobs WHERE state = 'running' AND lease_until < now()
    ORDER BY lease_until
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), ended AS (
    UPDATE jobs SET
        state = next,
        error = CASE next WHEN 'failed' THEN %(error)s::jsonb END,
        lost = lost + 1,
        finished_at = CASE next WHEN 'queued' THEN NULL ELSE now() END,
        lease_until = NULL,
        not_before = now() + make_interval(secs => %(backoff_seconds)s * lost * (0.75 + random() / 2)),
        rung_at = NULL,
        rings = 0,
        stage = CASE next WHEN 'queued' THEN 'accepted' ELSE stage END,
        progress = CASE next WHEN 'queued' THEN '{}' ELSE progress END
    FROM expired WHERE id = expired.job
    RETURNING jobs.*
), told AS (
    INSERT INTO events (job, transition, attempt)
    SELECT id, (CASE state WHEN 'queued' THEN 'lost' WHEN 'failed' THEN 'abandoned' ELSE 'cancelled' END)::job_transition, attempt
    FROM ended
), noted AS (
    INSERT INTO outbox (id, job, owner, state) SELECT id || ':' || state, id, owner, state FROM ended WHERE state <> 'queued'
)
SELECT * FROM ended

-- ring --
-- Waiting jobs that no worker seems to have heard of, longest waiting first; each ring makes the next one later. --
WITH unheard AS (
    SELECT id AS job FROM jobs
    WHERE state = 'queued' AND not_before <= now()
        -- a queue that is merely long would only grow longer if each of its jobs rang at every pass
        AND (rung_at IS NULL OR rung_at < now() - make_interval(secs => %(ring_after)s * 2 ^ least(rings, 4)))
    ORDER BY not_before
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE jobs SET rings = rings + (rung_at IS NOT NULL)::integer, rung_at = now()
FROM unheard WHERE id = unheard.job
RETURNING jobs.*

-- pulse --
-- How the queue is: what waits and runs, and for how long the eldest has. --
SELECT
    count(*) FILTER (WHERE state = 'queued') AS queued,
    count(*) FILTER (WHERE state = 'running') AS running,
    coalesce(extract(epoch FROM now() - min(not_before) FILTER (WHERE state = 'queued' AND not_before <= now())), 0)::float8
        AS oldest_queued_seconds,
    coalesce(extract(epoch FROM now() - (SELECT min(created_at) FROM outbox WHERE told_at IS NULL)), 0)::float8 AS oldest_untold_seconds
FROM jobs WHERE state IN ('queued', 'running')

-- create_asset --
-- Remember an upload that begins. --
WITH created AS (
    INSERT INTO assets (id, owner, name, bucket, key, size, type, upload_id, part_size)
    VALUES (%(id)s, %(owner)s, %(name)s, %(bucket)s, %(key)s, %(size)s, %(type)s, %(upload_id)s, %(part_size)s)
    ON CONFLICT DO NOTHING
    RETURNING *
)
SELECT * FROM created UNION ALL SELECT * FROM assets WHERE id = %(id)s AND owner = %(owner)s

-- get_asset --
-- One asset of its owner. --
SELECT * FROM assets WHERE id = %(id)s AND owner = %(owner)s AND state <> 'deleted'

-- list_assets --
-- An owner's assets older than the cursor, newest first. --
SELECT * FROM assets
WHERE owner = %(owner)s AND state <> 'deleted' AND (created_at, id) < (%(before)s::timestamptz, %(before_id)s::uuid)
ORDER BY created_at DESC, id DESC
LIMIT %(limit)s

-- complete_asset --
-- The object of an upload is whole: from now on it may be a source. --
UPDATE assets SET
    state = 'ready',
    size = coalesce(%(size)s, size),
    type = coalesce(%(type)s, type),
    sha256 = coalesce(%(sha256)s, sha256),
    media = %(media)s,
    problem = %(problem)s,
    upload_id = NULL
WHERE id = %(id)s AND owner = %(owner)s AND state = 'uploading'
RETURNING *

-- delete_asset --
-- Forget an asset; its object is garbage from now on. --
UPDATE assets SET state = 'deleted', deleted_at = coalesce(deleted_at, now())
WHERE id = %(id)s AND owner = %(owner)s
RETURNING *

-- orphans --
-- Those of the keys given that no living asset has. --
SELECT given.key FROM unnest(%(keys)s::text[]) AS given (key)
WHERE NOT EXISTS (
    SELECT FROM assets WHERE assets.bucket = %(bucket)s AND assets.key = given.key AND assets.state <> 'deleted'
)

-- abandoned_uploads --
-- Uploads that nobody has completed for long, of all owners. --
SELECT * FROM assets
WHERE state = 'uploading' AND created_at < now() - make_interval(secs => %(older_than_seconds)s)
ORDER BY created_at
LIMIT %(limit)s

-- create_key --
-- Remember the hash of a token; the same token again is the same key. --
WITH created AS (
    INSERT INTO keys (id, hash, owner, name) VALUES (%(id)s, %(hash)s, %(owner)s, %(name)s)
    ON CONFLICT DO NOTHING
    RETURNING *
)
SELECT * FROM created
UNION ALL
SELECT * FROM keys WHERE hash = %(hash)s AND owner = %(owner)s AND name = %(name)s AND revoked_at IS NULL

-- owner_of --
-- Whose token has this hash; notes, at most once an hour, that it was used. --
WITH found AS (
    SELECT id, owner, last_used_at FROM keys WHERE hash = %(hash)s AND revoked_at IS NULL
), due AS (
    SELECT id FROM keys
    WHERE id = (SELECT id FROM found WHERE last_used_at IS NULL OR last_used_at < now() - interval '1 hour')
    FOR UPDATE SKIP LOCKED
), noted AS (
    UPDATE keys SET last_used_at = now() FROM due WHERE keys.id = due.id
)
SELECT owner FROM found

-- list_keys --
-- An owner's keys, or everybody's, eldest first. --
SELECT * FROM keys WHERE %(owner)s::text IS NULL OR owner = %(owner)s ORDER BY created_at, id

-- revoke_key --
-- End a key by its id or its name. --
UPDATE keys SET revoked_at = coalesce(revoked_at, now())
WHERE owner = %(owner)s AND (id::text = %(key)s OR (name = %(key)s AND revoked_at IS NULL))
RETURNING *

-- due_notes --
-- Take what is to be told; whoever takes it has a while to tell it before somebody else may. --
WITH due AS (
    SELECT id FROM outbox WHERE told_at IS NULL AND not_before <= now()
    ORDER BY not_before
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET tries = tries + 1, not_before = now() + make_interval(secs => %(hold_seconds)s)
FROM due WHERE outbox.id = due.id
RETURNING outbox.*

-- note_told --
-- It was told. --
UPDATE outbox SET told_at = coalesce(told_at, now()), problem = NULL WHERE id = %(id)s

-- note_untold --
-- It could not be told: again later, and each time later still. --
UPDATE outbox SET
    problem = %(problem)s,
    not_before = now() + make_interval(secs => least(3600, %(backoff_seconds)s * 2 ^ least(tries, 12)) * (0.75 + random() / 2))
WHERE id = %(id)s AND told_at IS NULL

-- prune_notes --
-- Forget what was told long ago, and what nobody could be told for longer still. --
DELETE FROM outbox
WHERE told_at < now() - make_interval(secs => %(told_seconds)s) OR created_at < now() - make_interval(secs => %(untold_seconds)s)

-- try_migration_lock --
-- One migrator at a time, in this database. --
SELECT pg_try_advisory_lock(1853252202, 1)

-- create_migrations --
-- Where the migrations that were run are noted. --
CREATE TABLE IF NOT EXISTS migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,  -- SHA-256 of the file
    at timestamptz NOT NULL DEFAULT now()
)

-- list_migrations --
-- What was run. --
SELECT number, name, checksum FROM migrations ORDER BY number

-- note_migration --
-- It was run. --
INSERT INTO migrations (number, name, checksum) VALUES (%(number)s, %(name)s, %(checksum)s)
