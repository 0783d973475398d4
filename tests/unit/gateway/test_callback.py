"""Which addresses a result may be posted to."""

import asyncio

import pytest

from gateway import callback


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111"])
def test_public_addresses(address):
    """The open Internet may be called."""
    assert callback.public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
    ],
)
def test_other_addresses(address):
    """Loopback, private, link-local, shared, reserved, multicast, and whatever carries one of these inside."""
    assert not callback.public(address)


def test_one_private_address_spoils_the_name(monkeypatch):
    """A name with a public and a private address is refused: which one is called would be chance."""

    async def resolve():
        async def both(*_, **__):
            return [(2, 1, 6, "", ("8.8.8.8", 80)), (2, 1, 6, "", ("127.0.0.1", 80))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
        return await callback.resolve(callback.parse("http://both.example/"), private=False)

    with pytest.raises(callback.Refused):
        asyncio.run(resolve())
