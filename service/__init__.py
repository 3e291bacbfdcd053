"""s3-signer: keeps S3 accounts and hands out presigned URLs."""

__version__ = "1.0.0"
