"""Bundles as data, and as the text of their file."""

import json

from support.accounts import KEYS

SECRET = "a secret of a client"


def put(path, **resource):
    return {"request": {"method": "PUT", "url": path}, "resource": resource}


def delete(path):
    return {"request": {"method": "DELETE", "url": path}}


def account(id_, **changes):
    return put(f"/AwsAccount/{id_}", **{**KEYS, "region": "us-east-1", "use-ssl": True, **changes})


def client(id_, **changes):
    return put(f"/Client/{id_}", **{"secret": SECRET, "grant_types": ["basic"], **changes})


def policy(id_, *clients, **changes):
    links = [{"reference": f"Client/{client_id}"} for client_id in clients]
    return put(f"/AccessPolicy/{id_}", **{"engine": "allow", "link": links, **changes})


def text(*entries, **changes):
    return json.dumps({"resourceType": "Bundle", "type": "batch", "entry": list(entries), **changes})
