"""Store, read, change, sign with and delete an account by fhirclient."""

import os
import sys

from fhirclient.server import FHIRServer

server = FHIRServer(None, os.environ["BASE"])
server.session.headers["Authorization"] = os.environ["AUTHORIZATION"]
server.get_capability()
fields = {"access-key-id": "AKIAIOSFODNN7EXAMPLE", "secret-access-key": "a-secret", "use-ssl": True}
account = f"AwsAccount/{os.environ['ID']}"
stored = server.put_json(account, fields).json()
server.put_json(account, {**stored, "region": "eu-west-1"})
read = server.request_json(account)
signed = server.post_json(f"aws/storage/{os.environ['ID']}/uploads", {"filename": "some/key"}).json()
server.delete_json(account)
sys.stdout.write(f"{server.capabilityStatement.fhirVersion} {read['region']} {signed['url'].partition('?')[0]}\n")
