-- What must never be found, by invariant. Each statement gives one row (job, what) for each violation.

-- promised --
-- I1: a job that was promised to a client has a row. --
SELECT given.id::text AS job, 'was promised and has no row' AS what
FROM unnest(%(promised)s::uuid[]) AS given (id) WHERE NOT EXISTS (SELECT FROM jobs WHERE jobs.id = given.id)

-- unfinished --
-- I1: when all is said and done every job is at its end. --
SELECT id::text AS job, 'is still ' || state || ', attempt ' || attempt AS what FROM jobs WHERE state IN ('queued', 'running')

-- ends --
-- I1: a job has exactly one end, and it is the one its row says; before the end it has none. --
SELECT id::text AS job, 'is ' || state || ' and its events say: ' || coalesce(ends, 'no end') AS what
FROM jobs LEFT JOIN (
    SELECT job, count(*) AS number, string_agg(transition::text, ', ' ORDER BY id) AS ends,
        bool_or(transition = 'succeeded') AS succeeded,
        bool_or(transition IN ('failed', 'abandoned')) AS failed,
        bool_or(transition IN ('cancelled', 'withdrawn')) AS cancelled
    FROM events WHERE transition IN ('succeeded', 'failed', 'abandoned', 'cancelled', 'withdrawn') GROUP BY job
) AS ended ON ended.job = jobs.id
WHERE CASE state
    WHEN 'succeeded' THEN number IS DISTINCT FROM 1 OR NOT succeeded
    WHEN 'failed' THEN number IS DISTINCT FROM 1 OR NOT failed
    WHEN 'cancelled' THEN number IS DISTINCT FROM 1 OR NOT cancelled
    ELSE number IS NOT NULL
END

-- results --
-- I2, I3: a job has a result exactly when it succeeded, and the result is of the attempt that succeeded. --
SELECT jobs.id::text AS job, CASE
    WHEN assets.id IS NULL THEN 'succeeded and has no result asset'
    WHEN jobs.state <> 'succeeded' THEN 'is ' || jobs.state || ' and has the result asset ' || assets.id
    WHEN assets.owner <> jobs.owner THEN 'has a result of another owner'
    ELSE 'succeeded with attempt ' || jobs.attempt || ' and its result is ' || assets.key
END AS what
FROM jobs LEFT JOIN assets ON assets.job = jobs.id
WHERE (jobs.state = 'succeeded') <> (assets.id IS NOT NULL)
    OR assets.owner <> jobs.owner
    OR (assets.id IS NOT NULL AND assets.key NOT LIKE '%%' || jobs.id || '/' || jobs.attempt || '/%%')

-- recorded --
-- I2: what the store must have. --
SELECT job::text, bucket, key, size, sha256 FROM assets WHERE state = 'ready'

-- live --
-- I4: the attempts that may have processes and unrecorded objects. --
SELECT id::text AS job, attempt FROM jobs WHERE state = 'running' AND lease_until > now()

-- histories --
-- I5: all events of all jobs, in order, with what the row says now. --
SELECT jobs.id::text AS job, jobs.state::text, jobs.attempt, jobs.lost, jobs.failures,
    array_agg(transition::text ORDER BY events.id) AS transitions, array_agg(events.attempt ORDER BY events.id) AS attempts
FROM jobs LEFT JOIN events ON events.job = jobs.id
GROUP BY jobs.id

-- notes --
-- I6: an end is noted once; what was told may be forgotten after a day. --
SELECT jobs.id::text AS job, 'is ' || state || ' and the outbox has ' || coalesce(notes, 'nothing') AS what
FROM jobs LEFT JOIN (SELECT job, string_agg(id, ', ') AS notes, count(*) AS number FROM outbox GROUP BY job) AS noted ON noted.job = jobs.id
WHERE CASE WHEN state IN ('queued', 'running') THEN number IS NOT NULL
    ELSE number > 1 OR notes <> id || ':' || state OR (number IS NULL AND finished_at > now() - interval '1 day')
END

-- spent --
-- I7: the seconds that attempts took, and those of attempts whose work was thrown away though nobody had cancelled it. --
SELECT coalesce(sum(seconds), 0)::float8 AS spent, coalesce(sum(seconds) FILTER (WHERE transition IN ('lost', 'abandoned')), 0)::float8 AS wasted
FROM (
    SELECT ended.transition, extract(epoch FROM ended.at - claimed.at) AS seconds
    FROM events AS claimed JOIN events AS ended USING (job, attempt)
    WHERE claimed.transition = 'claimed'
        AND ended.transition IN ('released', 'retried', 'lost', 'succeeded', 'failed', 'abandoned', 'cancelled')
) AS attempts

-- told --
-- I8: the world was told of every end. --
SELECT job::text, 'ended ' || state || ' and nobody was told' AS what FROM outbox WHERE NOT id = ANY (%(told)s::text[])

-- keyed --
-- I9: one key of one owner is one job. --
SELECT min(id::text) AS job, 'shares its idempotency key with ' || count(*) - 1 || ' more' AS what
FROM jobs WHERE idempotency_key IS NOT NULL GROUP BY owner, idempotency_key HAVING count(*) > 1
