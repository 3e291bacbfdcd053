"""The raw client leaves alone what signatures depend on."""

import socket
import ssl
import threading

import pytest
from live.raw_http import send

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Name: value\r\n\r\nok"


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


def test_the_target_and_the_host_are_sent_as_written(listener):
    received = []
    thread = threading.Thread(target=_answer_once, args=(listener, received))
    thread.start()
    authority = f"bucket.s3.localtest:{listener.getsockname()[1]}"
    answer = send(f"http://{authority}//a/./../b%2fc;d?e=%20+#f", "PUT", b"body", {"X-Own": "1"})
    thread.join()

    head, _, body = received[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"PUT //a/./../b%2fc;d?e=%20+#f HTTP/1.1",
        f"Host: {authority}".encode(),
        b"Content-Length: 4",
        b"X-Own: 1",
    ]
    assert body == b"body"
    assert (answer.status, answer.headers["x-name"], answer.body) == (200, "value", b"ok")


@pytest.mark.timeout(300)  # it may install the server
def test_a_certificate_for_another_name_is_refused(ministack):
    port = ministack.https.rpartition(":")[2]

    with pytest.raises(ssl.SSLCertVerificationError):
        ministack.send(f"https://s3.elsewhere:{port}/", "GET")


def _answer_once(listener, received) -> None:
    connection, _ = listener.accept()
    with connection:
        received.append(connection.recv(65536))
        if not received[0].endswith(b"body"):  # the head and the body come in two segments
            received[0] += connection.recv(65536)
        connection.sendall(ANSWER)
