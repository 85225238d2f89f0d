"""Accepts every mail on port 1025, as Mailpit does, and stores each in a file."""

import itertools
import signal
import threading

from aiosmtpd.controller import Controller


class Mailbox:
    """Stores mails in /mail, numbered."""

    numbers = itertools.count(1)

    async def handle_DATA(self, server, session, envelope):
        with open(f"/mail/{next(self.numbers)}.eml", "wb") as file:
            file.write(envelope.content)
        return "250 kept"


ended = threading.Event()
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: ended.set())
controller = Controller(Mailbox(), hostname="", port=1025)
controller.start()
ended.wait()
controller.stop()
