"""The object store: plain S3 by boto3, no dialect. `store.Store` is the door, `keys` the only place where keys are made."""
