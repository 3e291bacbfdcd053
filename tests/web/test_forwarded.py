"""The client's address behind proxies is the rightmost untrusted one, whatever headers a client sends."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.steps import steps_of

from service.web.forwarded import MAX_HOPS, TrustedProxies, parse_node

PAGE = Path(__file__).parent.parent.parent / "docs/security/audit.md"
PROXIES = ("10.0.0.0/8", "2001:db8:1::/48", "unix")
FOR, FORWARDED = (TrustedProxies(PROXIES, header) for header in ("x-forwarded-for", "forwarded"))
PROXY, CLIENT, INVENTED = "10.0.0.1", "203.0.113.9", "6.6.6.6"


@pytest.mark.parametrize(
    ("peer", "lines", "expected"),
    [
        (PROXY, [], PROXY),
        (PROXY, [CLIENT], CLIENT),
        (PROXY, [f"{INVENTED}, {CLIENT}"], CLIENT),
        (PROXY, [f"{INVENTED},{CLIENT} ,\t10.0.0.3,10.0.0.2"], CLIENT),
        (PROXY, [INVENTED, CLIENT, "10.0.0.2"], CLIENT),
        (PROXY, ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (CLIENT, [INVENTED], CLIENT),
        ("unix", [CLIENT], CLIENT),
        ("fe80::1%eth0", [INVENTED], "fe80::1%eth0"),
        ("2001:db8:1::1", ["2001:db8:2::1"], "2001:db8:2::1"),
        ("::ffff:10.0.0.1", [CLIENT], CLIENT),
        (PROXY, ["::ffff:203.0.113.9"], CLIENT),
        (PROXY, [f"{CLIENT}:4711"], CLIENT),
        (PROXY, ["[2001:DB8::0:1]:4711"], "2001:db8::1"),
        (PROXY, [f"{INVENTED}, unknown"], PROXY),
        (PROXY, [f"{INVENTED}, unix:"], PROXY),
        (PROXY, [f"{INVENTED}, "], PROXY),
        (PROXY, [f"{INVENTED}, garbage, 10.0.0.2"], "10.0.0.2"),
        (PROXY, [INVENTED, ""], PROXY),
        (PROXY, ["fe80::1%eth0"], PROXY),
        (PROXY, ["203.0.113.009"], PROXY),
        (PROXY, ["1" * 8000], PROXY),
        ("not an address", [INVENTED], "not an address"),
    ],
)
def test_the_client_is_the_rightmost_untrusted_address(peer, lines, expected):
    assert FOR.client(peer, lines) == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([f"for={CLIENT}"], CLIENT),
        ([f'For="{CLIENT}:4711";proto=https;by="_x", for=10.0.0.2'], CLIENT),
        (['for="[2001:db8::1]:4711"'], "2001:db8::1"),
        ([r'for="\2\0\3.0.113.9"'], CLIENT),
        ([f"for={INVENTED}, for={CLIENT}", "for=10.0.0.2"], CLIENT),
        ([f"for={INVENTED}", "proto=https"], PROXY),
        ([f"for={INVENTED}, for=_hidden"], PROXY),
        ([f"for={INVENTED}, for=unknown"], PROXY),
        ([f"for={INVENTED};for={CLIENT}"], PROXY),
        # With an open quote of a client, a lenient parser reads the proxy's entry as a part of the client's.
        ([f'for={INVENTED};a=", for="[2001:db8::1]:4711"'], PROXY),
        ([f'for={INVENTED};a=", for={CLIENT}'], PROXY),
        ([f'for={INVENTED};a="\\", for="{CLIENT}"'], PROXY),
        ([f"for={INVENTED}; for"], PROXY),
        ([f"for={INVENTED} for={CLIENT}"], PROXY),
        ([f'for={INVENTED};a="', f'for="{CLIENT}"'], CLIENT),
        ([""], PROXY),
    ],
)
def test_a_forwarded_header_is_parsed_strictly(lines, expected):
    assert FORWARDED.client(PROXY, lines) == expected


@example(invented='for=6.6.6.6;a="')
@example(invented="for=6.6.6.6;a=\\")
@given(invented=st.text(st.sampled_from('fora=";,.:\\ 6\t[]_\x01é') | st.characters(codec="utf-8"), max_size=60))
def test_a_client_cannot_forge_its_address(invented):
    appended = {FOR: f"{invented}, {CLIENT}", FORWARDED: f'{invented}, for="{CLIENT}:4711"'}

    assert FOR.client(PROXY, [appended[FOR]]) == CLIENT
    assert FORWARDED.client(PROXY, [appended[FORWARDED]]) in {CLIENT, PROXY}
    for proxies, line in appended.items():
        assert proxies.client(PROXY, [invented, line]) in {CLIENT, PROXY}
        assert proxies.client(CLIENT, [invented]) == CLIENT


@given(st.text(st.sampled_from("0123456789abf:.[]%_ ") | st.characters(), max_size=50))
def test_a_node_is_parsed_as_an_address_or_none(text):
    node = parse_node(text)

    assert node is None or re.fullmatch("[0-9a-f:.]{2,45}", node)


def test_a_long_chain_is_read_to_a_limit():
    assert FOR.client(PROXY, [INVENTED + ",10.0.0.7" * MAX_HOPS]) == "10.0.0.7"
    assert FOR.client(PROXY, [CLIENT + ",10.0.0.7" * (MAX_HOPS - 1)]) == CLIENT


NETWORKS = st.builds(
    lambda address, length: ip_network((address, length % (address.max_prefixlen + 1)), strict=False),
    st.ip_addresses(),
    st.integers(1, 128),
)


@example([ip_network("10.0.0.0/8"), ip_network("10.1.0.0/16")], ip_address("10.2.0.1"))
@example([ip_network("0.0.0.0/32"), ip_network("::/128")], ip_address("255.255.255.255"))
@given(st.lists(NETWORKS, max_size=5), st.ip_addresses())
def test_an_address_is_trusted_if_a_network_contains_it(networks, address):
    proxies = TrustedProxies([str(network) for network in networks], "x-forwarded-for")
    edges = [edge for network in networks for edge in (network[0], network[-1])]
    before = [edge - 1 for edge in edges if int(edge)]
    after = [edge + 1 for edge in edges if int(edge) < 2**edge.max_prefixlen - 1]

    for peer in [address, *edges, *before, *after]:
        canonical = ip_address(parse_node(str(peer)))
        expected = any(canonical in network for network in networks)
        assert (proxies.client(str(peer), ["8.8.8.8"]) == "8.8.8.8") is expected


def test_thousands_of_trusted_networks_cost_as_little_as_a_few():
    many = [f"10.{i // 256}.{i % 256}.0/30" for i in range(5000)]
    hops = ",".join(f"172.16.0.{i}" for i in range(MAX_HOPS))
    few, found = (
        steps_of(TrustedProxies([*networks, PROXY, "172.16.0.0/12"], "x-forwarded-for").client, PROXY, [hops])
        for networks in ([], many)
    )

    assert found.result == "172.16.0.0"
    assert found.lines <= few.lines


@pytest.mark.parametrize("pair", ["", "for=6.6.6.6", "a=b", 'a=","', " "])
@pytest.mark.parametrize("separator", [",", ";"])
def test_of_a_line_with_thousands_of_elements_few_are_read_one_by_one(pair, separator):
    line = f"{pair}{separator}" * (7800 // (len(pair) + 1)) + f"proto=http,for={CLIENT}"
    found = steps_of(FORWARDED.client, PROXY, [line])

    assert found.result == CLIENT
    assert found.lines < 2500


@example("for=1,", '"')
@example(",", "")
@given(st.text('for="a";,\\ 1.\t', max_size=30), st.text('for="a";,\\ 1.\t', max_size=30))
def test_an_element_means_the_same_behind_any_others(before, element):
    alone = FORWARDED.client(PROXY, [element])

    assert FORWARDED.client(PROXY, [f"{before},{element}"]) in {alone, PROXY}


def test_the_documented_examples_hold():
    text = PAGE.read_text()
    rows = re.findall(r"^\| (?:`X-Forwarded-For: ([^`]*)`|no header)[^|]*\| (\S+) \|$", text, re.MULTILINE)

    assert len(rows) == 4
    assert [FOR.client(PROXY, [line] if line else []) for line, _ in rows] == [address for _, address in rows]
