"""Decisions over HTTP as rows: the pattern of a Client's only policy, the request, and the expected status.

The account ``acme`` exists, ``other`` does too, ``absent`` does not.
"""

from support.accounts import KEYS

GET, POST, PUT, PATCH, DELETE, HEAD = "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"
B = "/aws/storage/acme/uploads"

TEAM = {"params": {"account": "acme", "key": "#^team-a/"}}
READ = {"request-method": "get", "params": {"account": "acme"}}
UPLOAD = {"request-method": "post", "params": {"account": "acme", "bucket": "uploads", "key": "#^team-a/"}}
SHORT = {"params": {"account": "acme", "expiration": {"$enum": [60, 86400]}}}
URI = {"uri": "#^/aws/storage/acme/uploads/team-a/"}
MINE = {"params": {"resource/type": "AwsAccount", "resource/id": "acme"}}
NEW = {"request-method": {"$enum": ["put", "post"]}, "params": {"resource/type": "AwsAccount", "resource/id": "acme"}}
LIST = {"request-method": "get", "params": {"resource/type": "AwsAccount", "resource/id": None}}
SLOW = {"params": {"account": "acme", "key": "#^(a+)+$"}}
EXACT = {"params": {"account": "acme", "bucket": "uploads", "key": "team-a/café"}}
CLIENT = {"client": {"id": "team", "resourceType": "Client"}, "params": {"account": "acme"}}
OTHERS = {"client": {"id": "partner"}, "params": {"account": "acme"}}
JWT = {"jwt": "present?", "params": {"account": "acme"}}
HEADER = {"headers": {"x-tenant": "a"}, "params": {"account": "acme"}}
NO_HOST = {"params": {"resource/type": "AwsAccount", "resource/id": "acme"}, "body": {"host": None}}
PLAIN = {"params": {"resource/type": "AwsAccount", "resource/id": "acme"}, "body": {"path-style": True}}
METRICS = {"uri": "/metrics"}
OPERATION = {"params": {"account": "acme", "operation": "upload"}}
NOT_DELETE = {"params": {"account": "acme", "operation": {"$enum": ["upload", "download"]}}}
ACME = {"params": {"account": "acme"}}
LISTS = {"params": {"account": "acme", "operation": "list", "prefix": "#^team-a/"}}
LISTS_OR_READS = {
    "$one-of": [
        {"params": {"account": "acme", "operation": "list", "prefix": "public/"}},
        {"params": {"account": "acme", "prefix": "#^"}},
    ]
}
NOT_UPLOADS = {"params": {"account": "acme", "operation": {"$not": "upload"}}}
ANY_OPERATION = {"params": {"account": "acme", "operation": "present?"}}
EVERY_OPERATION = {"params": {"account": "acme", "operation": "#^[a-z]+$"}}
TYPED = {"params": {"account": "acme", "operation": "upload", "content-type": {"$enum": ["image/png", "image/jpeg"]}}}
SMALL = {"params": {"account": "acme", "operation": "upload", "content-length": "#^[0-9]{1,4}$"}}
PRIVATE = {"params": {"account": "acme", "acl": None}}
LABELLED = {"params": {"account": "acme", "metadata": {"owner": ".client.id"}}}
ATTACHED = {"params": {"account": "acme", "response-content-disposition": "#^attachment;"}}
LATEST = {"params": {"account": "acme", "version-id": "nil?"}}
BY_ID = {"params": {"account": ".client.id"}}

YAML_KEYS = "\n".join(f"{name}: {text}" for name, text in KEYS.items())


def upload(filename, **fields):
    return {"json": {"filename": filename, **fields}}


def body(**fields):
    return {"json": {**KEYS, **fields}}


DECISIONS = {
    # Keys: policies see the decoded key, however it is encoded.
    "a key under the prefix": (TEAM, GET, f"{B}/team-a/x", {}, 200),
    "another prefix that begins alike": (TEAM, GET, f"{B}/team-ab/x", {}, 403),
    "the prefix without its slash": (TEAM, GET, f"{B}/team-a", {}, 403),
    "the prefix with an encoded slash": (TEAM, GET, f"{B}/team-a%2Fx", {}, 200),
    "the prefix with a letter encoded": (TEAM, GET, f"{B}/t%65am-a/x", {}, 200),
    "a letter encoded that is another": (TEAM, GET, f"{B}/%41eam-a/x", {}, 403),
    "an escape of an escape is no slash": (TEAM, GET, f"{B}/team-a%252Fx", {}, 403),
    "another case": (TEAM, GET, f"{B}/TEAM-A/x", {}, 403),
    "a slash in front": (TEAM, GET, f"{B}//team-a/x", {}, 403),
    "a newline in front": (TEAM, GET, f"{B}/%0Ateam-a/x", {}, 403),
    "a newline behind": (TEAM, GET, f"{B}/team-a%0A/x", {}, 403),
    "a Cyrillic a": (TEAM, GET, f"{B}/te%D0%B0m-a/x", {}, 403),
    "full-width letters": (TEAM, GET, f"{B}/%EF%BD%94eam-a/x", {}, 403),
    "a full-width slash": (TEAM, GET, f"{B}/team-a%EF%BC%8Fx", {}, 403),
    "a soft hyphen": (TEAM, GET, f"{B}/team%C2%AD-a/x", {}, 403),
    "a dot segment after the prefix": (TEAM, GET, f"{B}/team-a/../team-b/x", {}, 422),
    "an encoded dot segment": (TEAM, GET, f"{B}/team-a/%2E%2E/team-b/x", {}, 422),
    "a dot segment behind an encoded slash": (TEAM, GET, f"{B}/team-a%2F..%2Fteam-b/x", {}, 422),
    "an overlong slash": (TEAM, GET, f"{B}/team-a%C0%AFx", {}, 400),
    "half an escape": (TEAM, GET, f"{B}/team-a/%4", {}, 400),
    "a NUL": (TEAM, GET, f"{B}/team-a/%00", {}, 422),
    "a composed letter": (EXACT, GET, f"{B}/team-a/caf%C3%A9", {}, 200),
    "the same letter decomposed": (EXACT, GET, f"{B}/team-a/cafe%CC%81", {}, 403),
    "a regular expression that could backtrack, matched": (SLOW, GET, f"{B}/{'a' * 900}", {}, 200),
    "a regular expression that could backtrack": (SLOW, GET, f"{B}/{'a' * 900}b", {}, 403),
    # Accounts and buckets.
    "another bucket": (UPLOAD, POST, "/aws/storage/acme/uploads2", upload("team-a/x"), 403),
    "another account": (TEAM, GET, "/aws/storage/other/uploads/team-a/x", {}, 403),
    "an account in another case": (TEAM, GET, "/aws/storage/Acme/uploads/team-a/x", {}, 403),
    "an account with a letter encoded": (TEAM, GET, "/aws/storage/%61cme/uploads/team-a/x", {}, 200),
    "an account with a slash in it": (TEAM, GET, "/aws/storage/acme%2Fx/uploads/team-a/x", {}, 422),
    "a bucket with a slash in it": (TEAM, GET, "/aws/storage/acme/uploads%2Fteam-a/x", {}, 422),
    "the account that is called as the client": (BY_ID, GET, "/aws/storage/team/uploads/x", {}, 404),
    "an account that is not": (BY_ID, GET, f"{B}/x", {}, 403),
    # Methods and paths.
    "its method": (READ, GET, f"{B}/x", {}, 200),
    "a DELETE": (READ, DELETE, f"{B}/x", {}, 403),
    "a HEAD is a GET": (READ, HEAD, f"{B}/x", {}, 200),
    "a HEAD is no method of its own": ({**READ, "request-method": "head"}, HEAD, f"{B}/x", {}, 403),
    "an upload": (READ, POST, B, upload("x"), 403),
    "the routed path": (URI, GET, f"{B}/team-a/x", {}, 200),
    "the routed path, decoded": (URI, GET, f"{B}/team%2Da%2Fx", {}, 200),
    "two slashes in front": (URI, GET, f"/{B}/team-a/x", {}, 404),
    "two slashes and an escape in front": (URI, GET, f"/{B}/team-a%2Fx", {}, 404),
    "a dot segment in the path": (URI, GET, "/aws/storage/x/../acme/uploads/team-a/x", {}, 422),
    "no query is in the path": (URI, GET, f"{B}/x?expiration=60", {}, 403),
    "a route of operators": (METRICS, GET, "/metrics", {}, 200),
    "another route of operators": (METRICS, GET, "/$version", {}, 403),
    # Operations.
    "the operation upload": (OPERATION, POST, B, upload("x"), 200),
    "the operation upload does not download": (OPERATION, GET, f"{B}/x", {}, 403),
    "one of several operations": (NOT_DELETE, GET, f"{B}/x", {}, 200),
    "one of several operations, as a HEAD": (NOT_DELETE, HEAD, f"{B}/x", {}, 200),
    "the operation delete": (NOT_DELETE, DELETE, f"{B}/x", {}, 403),
    "the operation delete does not look": (NOT_DELETE, GET, f"{B}/x?method=HEAD", {}, 403),
    "the operation head": ({"params": {"operation": "head"}}, GET, f"{B}/x?method=HEAD", {}, 200),
    "the operation head does not download": ({"params": {"operation": "head"}}, GET, f"{B}/x", {}, 403),
    # A listing needs a policy that names it.
    "a listing": (LISTS, GET, f"{B}?prefix=team-a/", {}, 200),
    "a listing of another prefix": (LISTS, GET, f"{B}?prefix=team-b/", {}, 403),
    "a listing of everything": (LISTS, GET, B, {}, 403),
    "a listing that no pattern names": (ACME, GET, B, {}, 403),
    "a listing by its path": ({"uri": B}, GET, B, {}, 403),
    "a listing that is not an upload": (NOT_UPLOADS, GET, B, {}, 403),
    "a listing under a pattern of any operation": (ANY_OPERATION, GET, B, {}, 403),
    "a listing under a pattern of every operation": (EVERY_OPERATION, GET, B, {}, 403),
    "a listing that one choice names and another allows unnamed": (LISTS_OR_READS, GET, f"{B}?prefix=public/", {}, 403),
    "a listing that one choice allows unnamed": (LISTS_OR_READS, GET, f"{B}?prefix=private/", {}, 403),
    # What is signed besides the key.
    "a type that is listed": (TYPED, POST, B, upload("x", **{"content-type": "image/png"}), 200),
    "a type that is not listed": (TYPED, POST, B, upload("x", **{"content-type": "text/html"}), 403),
    "no type": (TYPED, POST, B, upload("x"), 403),
    "a small size": (SMALL, POST, B, upload("x", **{"content-length": 9999}), 200),
    "a large size": (SMALL, POST, B, upload("x", **{"content-length": 10000}), 403),
    "no size": (SMALL, POST, B, upload("x"), 403),
    "an ACL where none may be": (PRIVATE, POST, B, upload("x", acl="public-read"), 403),
    "no ACL": (PRIVATE, POST, B, upload("x"), 200),
    "metadata of the caller": (LABELLED, POST, B, upload("x", metadata={"owner": "team", "a": "b"}), 200),
    "metadata of another": (LABELLED, POST, B, upload("x", metadata={"owner": "partner"}), 403),
    "a download under a name": (ATTACHED, GET, f"{B}/x?download=a.pdf", {}, 200),
    "a download that is shown": (ATTACHED, GET, f"{B}/x?response-content-disposition=inline", {}, 403),
    "the latest version": (LATEST, DELETE, f"{B}/x", {}, 200),
    "a version": (LATEST, DELETE, f"{B}/x?version-id=3", {}, 403),
    "a request for a resource has no operation": (OPERATION, GET, "/AwsAccount/acme", {}, 403),
    # Uploads.
    "a file under the prefix": (UPLOAD, POST, B, upload("team-a/x"), 200),
    "a file beside the prefix": (UPLOAD, POST, B, upload("team-ab/x"), 403),
    "a file name is not decoded": (UPLOAD, POST, B, upload("team-a%2Fx"), 403),
    "a file name in YAML": (UPLOAD, POST, B, {"data": "filename: team-a/x"}, 200),
    "a file name that is no text": (UPLOAD, POST, B, {"json": {"filename": ["team-a/x"]}}, 422),
    "a file that is twice in the body": (UPLOAD, POST, B, {"data": '{"filename":"team-a/x","filename":"b"}'}, 400),
    # Expirations.
    "the default expiration": (SHORT, GET, f"{B}/x", {}, 200),
    "an expiration that is listed": (SHORT, GET, f"{B}/x?expiration=60", {}, 200),
    "an expiration with zeros in front": (SHORT, GET, f"{B}/x?expiration=0060", {}, 422),
    "an expiration that is not listed": (SHORT, GET, f"{B}/x?expiration=61", {}, 403),
    "an expiration given twice": (SHORT, GET, f"{B}/x?expiration=60&expiration=604800", {}, 400),
    "an expiration that is given twice, encoded": (SHORT, GET, f"{B}/x?expiration=60&%65xpiration=604800", {}, 400),
    # The caller, headers and claims.
    "the client itself": (CLIENT, GET, f"{B}/x", {}, 200),
    "another client": (OTHERS, GET, f"{B}/x", {}, 403),
    "a Client has no jwt": (JWT, GET, f"{B}/x", {}, 403),
    "a header": (HEADER, GET, f"{B}/x", {"headers": {"X-Tenant": "a"}}, 200),
    "a header with another value": (HEADER, GET, f"{B}/x", {"headers": {"X-Tenant": "b"}}, 403),
    "a header given twice": (HEADER, GET, f"{B}/x", {"headers": [("X-Tenant", "a"), ("X-Tenant", "b")]}, 403),
    "a header that is not there": (HEADER, GET, f"{B}/x", {}, 403),
    # Resources.
    "an account to read": (MINE, GET, "/AwsAccount/acme", {}, 200),
    "an account to read as FHIR": (MINE, GET, "/fhir/AwsAccount/acme", {}, 200),
    "an account to read, encoded": (MINE, GET, "/AwsAccount/%61cme", {}, 200),
    "another account to read": (MINE, GET, "/AwsAccount/other", {}, 403),
    "an account that does not exist": (MINE, GET, "/AwsAccount/absent", {}, 403),
    "a Client of that id": (MINE, GET, "/Client/acme", {}, 403),
    "a Session is no resource": (MINE, GET, "/Session/acme", {}, 404),
    "all accounts": (MINE, GET, "/AwsAccount", {}, 403),
    "all accounts of that id": (MINE, GET, "/AwsAccount?_id=acme", {}, 403),
    "all accounts, allowed": (LIST, GET, "/AwsAccount?_id=acme", {}, 200),
    "one of all accounts": (LIST, GET, "/AwsAccount/acme", {}, 403),
    "an upsert by the id in the body": (NEW, PUT, "/AwsAccount", body(id="acme"), 200),
    "an upsert by another id in the body": (NEW, PUT, "/AwsAccount", body(id="other"), 403),
    "an upsert by an id that is no text": (NEW, PUT, "/AwsAccount", body(id=["acme"]), 403),
    "an upsert by _id": (NEW, PUT, "/AwsAccount?_id=acme", body(), 200),
    "an upsert of another by _id": (NEW, PUT, "/AwsAccount?_id=other", body(), 403),
    "an upsert by _id with another id in the body": (NEW, PUT, "/AwsAccount?_id=other", body(id="acme"), 422),
    "an upsert by the id of the path": (NEW, PUT, "/AwsAccount/acme", body(id="other"), 200),
    "an upsert of another by the path": (NEW, PUT, "/AwsAccount/other", body(id="acme"), 403),
    "a create by the id in the body": (NEW, POST, "/AwsAccount", body(id="acme"), 409),
    "a create by another id": (NEW, POST, "/AwsAccount", body(id="absent"), 403),
    "a create without an id": (NEW, POST, "/AwsAccount", body(), 403),
    "a create with null for an id": (NEW, POST, "/AwsAccount", body(id=None), 403),
    "a create on a condition": (NEW, POST, "/AwsAccount?_id=acme", body(), 200),
    "a create on a condition, with another id in the body": (NEW, POST, "/AwsAccount?_id=acme", body(id="absent"), 422),
    "a create on another's condition": (NEW, POST, "/AwsAccount?_id=other", body(), 403),
    "a PATCH": (NEW, PATCH, "/AwsAccount/acme", {"json": {"region": "eu-west-1"}}, 403),
    "a PATCH that leaves the host": (NO_HOST, PATCH, "/AwsAccount/acme", {"json": {"region": "eu-west-1"}}, 200),
    "a PATCH that moves the host": (NO_HOST, PATCH, "/AwsAccount/acme", {"json": {"host": "evil.example"}}, 403),
    "a PATCH that moves the host, in YAML": (NO_HOST, PATCH, "/AwsAccount/acme", {"data": "host: evil.example"}, 403),
    "a boolean in JSON": (PLAIN, PATCH, "/AwsAccount/acme", body(**{"path-style": True}), 200),
    "a boolean in YAML": (PLAIN, PATCH, "/AwsAccount/acme", {"data": f"path-style: true\n{YAML_KEYS}"}, 200),
    "another boolean": (PLAIN, PATCH, "/AwsAccount/acme", {"json": {"path-style": False}}, 403),
    "a policy of one's own": (MINE, PUT, "/AccessPolicy/mine", {"json": {"engine": "allow"}}, 403),
    "a client of one's own": (MINE, PUT, "/Client/mine", {"json": {"grant_types": ["basic"]}}, 403),
}
