"""Every metric of the functions, named once, with its question."""

from prometheus_client import Counter, Gauge, Histogram

STAGES = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

# How do jobs end, and why?
JOBS = Counter("nve_jobs_total", "Jobs that reached an end in this process", ["operation", "state", "code"])
# Where does a job's time go?
STAGE_SECONDS = Histogram("nve_job_stage_seconds", "Time a job spent in a stage", ["operation", "stage"], buckets=STAGES)
# How long did jobs wait for a worker?
QUEUE_SECONDS = Histogram("nve_job_queue_seconds", "Time from accept to claim", ["operation"], buckets=STAGES)
# Are leases too short? Each is an encode done in vain.
STALE_FINISHES = Counter("nve_stale_finishes_total", "Finishes refused because another attempt owns the job", ["operation"])
# How many jobs run here now?
RUNNING = Gauge("nve_jobs_running", "Jobs being worked on in this process", ["operation"])
# What was saved by copying?
FRAMES = Counter("nve_frames_total", "Frames of results", ["operation", "how"])
# How little of the sources was read?
SOURCE_BYTES = Counter("nve_source_bytes_total", "Size of the sources of finished jobs", ["operation"])
SOURCE_BYTES_READ = Counter("nve_source_bytes_read_total", "Bytes read of those sources", ["operation"])
# Do results fail their checks?
VERIFY_FAILURES = Counter("nve_verify_failures_total", "Results thrown away by verify", ["operation"])
# What did the reaper find?
REAPED = Counter("nve_reaped_total", "Jobs the reaper acted on", ["action"])
