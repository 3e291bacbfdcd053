"""Sends an upload form as a browser does."""

from typing import Any

from live.raw_http import Answer


def post_form(server: Any, form: dict[str, Any], content: bytes, **changes: str | None) -> Answer:
    """Send the form that the service answered with, and a file ``photo.png`` with ``content``.

    ``changes`` replace some of its fields, and None leaves one out. ``server`` sends, such as an S3Server.
    """
    fields = {**form["fields"], **changes}
    boundary = "----form"
    texts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
        if text is not None
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="photo.png"\r\n\r\n'
    body = "".join([*texts, head]).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return server.send(form["url"], "POST", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
