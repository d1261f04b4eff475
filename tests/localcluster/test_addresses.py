import ipaddress
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.addresses import AddressError, AddressSpace, listening_port


def test_two_clusters_never_share_a_range():
    with AddressSpace.claim(77) as one, AddressSpace.claim(77) as two:
        assert one.octet != two.octet
        assert not {one.pod() for _ in range(300)} & {two.pod() for _ in range(300)}
    with AddressSpace.claim(one.octet) as again:
        assert again.octet == one.octet


def test_a_claim_ends_with_a_process_that_is_killed():
    code = "import sys, time; from localcluster.addresses import AddressSpace\n"
    code += "space = AddressSpace.claim(78); print(space.octet, flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    octet = int(other.stdout.readline())
    with AddressSpace.claim(octet) as space:
        assert space.octet != octet
    other.kill()
    other.wait()
    other.stdout.close()
    with AddressSpace.claim(octet) as space:
        assert space.octet == octet


def test_addresses_can_be_listened_at_and_come_back_late():
    with AddressSpace.claim() as space:
        first = space.pod()
        with socket.create_server((first, 0)):
            pass
        space.release(first)
        others = [space.pod() for _ in range(1000)]
        assert first not in others
        assert len(set(others)) == 1000
        assert all(ipaddress.ip_address(address).is_loopback for address in others)


def test_every_address_is_given_once_and_then_none_is_left(monkeypatch):
    monkeypatch.setattr("localcluster.addresses._POD_NETS", range(1, 3))
    with AddressSpace.claim() as space:
        given = {space.pod() for _ in range(2 * 254)}
        assert len(given) == 508
        with pytest.raises(AddressError, match="every address"):
            space.pod()
        space.release("127.0.0.1")
        space.release(some := next(iter(given)))
        assert space.pod() == some


def test_a_service_keeps_the_address_that_it_had():
    with AddressSpace.claim() as space:
        wanted = f"127.{space.octet}.200.7"
        assert space.service(wanted) == wanted
        assert space.service(wanted) == f"127.{space.octet}.128.1"
        for strange in ("10.0.0.1", "None", "", f"127.{space.octet}.1.1", f"127.{space.octet}.128.0", "127.x.128.1"):
            assert space.service(strange) != strange


def test_other_systems_are_told_what_is_missing(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(AddressError, match="which darwin does not have; use Linux"):
        AddressSpace.claim()


@given(st.integers(1, 50_000), st.none() | st.integers(1, 65_535) | st.just("http"))
def test_no_service_listens_where_rights_are_needed(port, target):
    entry = {"port": port} if target is None else {"port": port, "targetPort": target}
    assert listening_port(entry) >= 1024
    if port >= 1024:
        assert listening_port(entry) == port


def test_a_web_port_is_listened_at_where_its_pods_listen():
    assert listening_port({"port": 80, "targetPort": 8080}) == 8080
    assert listening_port({"port": 443, "targetPort": "https"}) == 8443
