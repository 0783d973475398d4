-- Jobs and what they leave behind. Every rule that can be an index or a constraint is one, with the sentence it enforces.

CREATE TYPE job_state AS ENUM (
    'queued',     -- accepted, or to be tried again: waits for a worker
    'running',    -- one attempt holds the lease
    'succeeded',  -- the result is stored and recorded (terminal)
    'failed',     -- will not be tried again by itself (terminal)
    'cancelled'   -- its owner does not want it any more (terminal)
);

CREATE TYPE job_transition AS ENUM (
    'accepted',          -- nothing -> queued
    'claimed',           -- queued -> running: a new attempt
    'released',          -- running -> queued: the worker stopped in good order
    'retried',           -- running -> queued: a part of the system failed
    'lost',              -- running -> queued: the lease ran out
    'cancel_requested',  -- running -> running: the owner asked, the worker does not know yet
    'succeeded',         -- running -> succeeded
    'failed',            -- running -> failed: the attempt says so
    'abandoned',         -- running -> failed: too many workers were lost on it
    'cancelled',         -- running -> cancelled
    'withdrawn'          -- queued -> cancelled: no worker ever heard of it, or none had it at the time
);

CREATE TYPE asset_state AS ENUM (
    'uploading',  -- the owner is sending parts
    'ready',      -- the object is complete and may be a source
    'deleted'     -- the object is gone, or garbage
);

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    owner text NOT NULL,
    operation text NOT NULL,
    request jsonb NOT NULL,
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),  -- of operation and request, in canonical JSON
    idempotency_key text,
    call_id text,
    retry_of uuid REFERENCES jobs,

    state job_state NOT NULL DEFAULT 'queued',
    stage text NOT NULL DEFAULT 'accepted',
    progress jsonb NOT NULL DEFAULT '{}',
    result jsonb,
    warnings jsonb NOT NULL DEFAULT '[]',
    error jsonb,

    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),    -- the fence: only ever grows
    lost integer NOT NULL DEFAULT 0 CHECK (lost >= 0),          -- attempts whose lease ran out
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),  -- attempts that a part of the system failed
    claimant uuid,                                              -- names the claim call, so that its repetition is recognised
    lease_until timestamptz,

    not_before timestamptz NOT NULL DEFAULT now(),  -- since when, or from when, it may be claimed
    rung_at timestamptz DEFAULT now(),              -- when a worker was last called for it; NULL: ring now
    rings integer NOT NULL DEFAULT 0,               -- how often the reaper has rung since it was queued
    cancel_requested_at timestamptz,

    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,

    -- a job is leased exactly while it runs
    CONSTRAINT jobs_leased_while_running CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    -- whoever runs a job is named, and has a fence
    CONSTRAINT jobs_running_is_claimed CHECK (state <> 'running' OR (claimant IS NOT NULL AND attempt > 0)),
    -- an end has a time, and only an end has
    CONSTRAINT jobs_end_has_time CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    -- a success has a result, and only a success has
    CONSTRAINT jobs_success_has_result CHECK ((state = 'succeeded') = (result IS NOT NULL)),
    -- a failure says why, and only a failure does
    CONSTRAINT jobs_failure_has_error CHECK ((state = 'failed') = (error IS NOT NULL)),
    -- what its owner has cancelled never waits for another worker
    CONSTRAINT jobs_cancelled_never_queued CHECK (state <> 'queued' OR cancel_requested_at IS NULL)
);

-- the same key of the same owner is the same job
CREATE UNIQUE INDEX jobs_one_per_idempotency_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
-- a job has at most one retry that is not over
CREATE UNIQUE INDEX jobs_one_live_retry ON jobs (retry_of) WHERE state IN ('queued', 'running') AND retry_of IS NOT NULL;
CREATE INDEX jobs_of_owner ON jobs (owner, created_at DESC, id DESC);
CREATE INDEX jobs_queued ON jobs (not_before) WHERE state = 'queued';
CREATE INDEX jobs_queued_of_owner ON jobs (owner) WHERE state = 'queued';
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';

CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job uuid NOT NULL REFERENCES jobs,
    transition job_transition NOT NULL,
    attempt integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    facts jsonb NOT NULL DEFAULT '{}'
);

-- a job is accepted once
CREATE UNIQUE INDEX events_one_accepted ON events (job) WHERE transition = 'accepted';
-- a job ends once
CREATE UNIQUE INDEX events_one_end ON events (job)
    WHERE transition IN ('succeeded', 'failed', 'abandoned', 'cancelled', 'withdrawn');
-- an attempt begins once
CREATE UNIQUE INDEX events_one_claim ON events (job, attempt) WHERE transition = 'claimed';
-- an attempt ends once, whoever ends it
CREATE UNIQUE INDEX events_one_end_of_attempt ON events (job, attempt)
    WHERE transition IN ('released', 'retried', 'lost', 'succeeded', 'failed', 'abandoned', 'cancelled');
CREATE INDEX events_of_job ON events (job, id);

CREATE TABLE assets (
    id uuid PRIMARY KEY,
    owner text NOT NULL,
    name text NOT NULL,
    bucket text NOT NULL,
    key text NOT NULL,
    size bigint NOT NULL CHECK (size >= 0),  -- bytes
    type text NOT NULL,
    state asset_state NOT NULL DEFAULT 'uploading',
    upload_id text,       -- the store's multipart upload, while uploading
    part_size bigint,     -- bytes
    sha256 text,          -- hexadecimal
    media jsonb,          -- what probing found
    problem jsonb,        -- why it cannot be a source: {code, message}
    job uuid REFERENCES jobs,  -- the job whose result it is
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,

    CONSTRAINT assets_deleted_has_time CHECK ((state = 'deleted') = (deleted_at IS NOT NULL)),
    -- a result is never half there
    CONSTRAINT assets_result_is_complete CHECK (job IS NULL OR (state <> 'uploading' AND sha256 IS NOT NULL))
);

-- an object belongs to one asset
CREATE UNIQUE INDEX assets_one_per_object ON assets (bucket, key);
-- a job has one result
CREATE UNIQUE INDEX assets_one_per_job ON assets (job) WHERE job IS NOT NULL;
CREATE INDEX assets_of_owner ON assets (owner, created_at DESC, id DESC) WHERE state <> 'deleted';
CREATE INDEX assets_uploading ON assets (created_at) WHERE state = 'uploading';

CREATE TABLE keys (
    id uuid PRIMARY KEY,
    hash bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),  -- SHA-256 of the token; the token itself is nowhere
    owner text NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    last_used_at timestamptz  -- at most an hour behind
);

-- the name of a living key finds one key
CREATE UNIQUE INDEX keys_one_living_per_name ON keys (owner, name) WHERE revoked_at IS NULL;

CREATE TABLE outbox (
    id text PRIMARY KEY,  -- <job>:<state>: receivers drop what they have seen
    job uuid NOT NULL REFERENCES jobs,
    owner text NOT NULL,
    state job_state NOT NULL CHECK (state IN ('succeeded', 'failed', 'cancelled')),
    created_at timestamptz NOT NULL DEFAULT now(),
    not_before timestamptz NOT NULL DEFAULT now(),
    tries integer NOT NULL DEFAULT 0,
    told_at timestamptz,
    problem text,  -- why the last try failed

    CONSTRAINT outbox_id_is_job_and_state CHECK (id = job::text || ':' || state::text)
);

CREATE INDEX outbox_untold ON outbox (not_before) WHERE told_at IS NULL;
