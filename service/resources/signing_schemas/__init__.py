"""marshmallow schemas of signing requests: what a URL can carry, by wire name.

An upload can bind headers, which become signed headers; a download can set headers of S3's response.
"""
