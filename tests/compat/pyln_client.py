"""Drives two nodes with Core Lightning's own Python client, as wallets and plugins do.

Usage: pyln_client.py PAYER_SOCKET PAYEE_SOCKET, with a channel between the two. Ends with 0 where
every call did what its users rely on.
"""

import sys

from pyln.client import LightningRpc, Millisatoshi, RpcError


def main():
    payer, payee = (LightningRpc(path) for path in sys.argv[1:3])
    info = payer.getinfo()
    assert info["id"] != payee.getinfo()["id"]
    assert Millisatoshi(info["fees_collected_msat"]) == Millisatoshi(0)
    assert payer.newaddr("bech32")["bech32"].startswith("bcrt1q")
    assert payer.newaddr()["p2tr"].startswith("bcrt1p")
    funds = payer.listfunds()
    assert Millisatoshi(funds["channels"][0]["our_amount_msat"]) > Millisatoshi(0)
    assert payer.listpeerchannels()["channels"][0]["state"] == "CHANNELD_NORMAL"
    pay(payer, payee)
    complain(payer, payee)


def pay(payer, payee):
    invoice = payee.invoice(Millisatoshi("10sat"), "pyln", "paid with pyln")
    assert Millisatoshi(payer.decode(invoice["bolt11"])["amount_msat"]) == Millisatoshi(10000)
    paid = payer.pay(invoice["bolt11"])
    assert paid["status"] == "complete"
    assert Millisatoshi(paid["amount_msat"]) == Millisatoshi(10000), paid
    listed = payer.listpays(bolt11=invoice["bolt11"])["pays"]
    assert [p["preimage"] for p in listed] == [paid["payment_preimage"]], listed
    assert payee.listinvoices("pyln")["invoices"][0]["status"] == "paid"
    assert payee.waitinvoice("pyln")["payment_preimage"] == paid["payment_preimage"]
    assert payee.waitanyinvoice(0)["label"] == "pyln"


def complain(payer, payee):
    try:
        payee.invoice(1, "pyln", "the same label again")
    except RpcError as error:
        assert error.error["code"] == 900, error
    else:
        raise AssertionError("a label was used twice")
    try:
        payer.call("nonesuch")
    except RpcError as error:
        assert error.error["code"] == -32601, error
    else:
        raise AssertionError("there is no such command")
    seen = []
    with payer.notify(lambda message, progress, request, **_: seen.append((message, progress))):
        payer.getinfo()
    with payer.reply_filter({"id": True}):
        assert list(payer.getinfo()) == ["id"]


if __name__ == "__main__":
    main()
