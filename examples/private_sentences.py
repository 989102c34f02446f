"""The Python API behind the commands: load a model, plan a query, serve it, query it.

    python examples/private_sentences.py [MODEL_FOLDER]

Server and client are threads here so that the whole conversation fits in one file; the sockets, keys and the
dealer process are real. `fastlmpi serve` and `fastlmpi query` do the same as separate programs.
"""

import sys
import tempfile
import threading
from pathlib import Path

from net import Listener, Program, connect, generate, launch, load_keys, load_public
from transformer import hf
from transformer.client import Client, load_tokenizer, tokenize
from transformer.model import PrivateModel
from transformer.server import Server

TEXTS = ["A cat sat on the mat.", "The dog ran."]


def main(folder: str | None) -> None:
    model = PrivateModel.load(folder)
    plan = model.plan(batch=len(TEXTS), length=12).summary()
    print(
        f"{model.card.name}: {plan['rounds']} rounds, {plan['online_bytes_client'] / 1e6:.1f} MB from the client"
    )
    with tempfile.TemporaryDirectory() as scratch:
        keys = Path(scratch)
        for name in ("client", "server", "dealer"):
            generate(keys, name)
        deal = [sys.executable, "-m", "transformer.cli", "dealer", "--once", "--keys", scratch]
        with launch([Program("dealer", [*deal, "--dealer", "tcp://127.0.0.1:*"])], timeout_s=300) as running:
            dealer = running.wait_ready("dealer")["address"]

            def to_dealer(role: str):
                return lambda: connect(
                    dealer, load_keys(keys / f"{role}.key"), load_public(keys / "dealer.pub")
                )

            own, known = load_keys(keys / "server.key"), [load_public(keys / "client.pub")]
            with Listener("tcp://127.0.0.1:*", own, known) as listener:
                server = Server(model, to_dealer("server"))
                thread = threading.Thread(target=lambda: server.serve(listener.accept()))
                thread.start()
                own = load_keys(keys / "client.key")
                to_server = lambda: connect(listener.address, own, load_public(keys / "server.pub"))  # noqa: E731
                with Client(to_server, to_dealer("client")) as client:
                    tokenizer = load_tokenizer(hf.find_model(folder).path)
                    answer = client.ask(tokenize(TEXTS, tokenizer, client.card))
                thread.join()
    for name, values in answer.outputs.items():
        print(name, values.shape)
    print(f"online {answer.report.online_s:.2f} s, {answer.report.rounds} rounds")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
