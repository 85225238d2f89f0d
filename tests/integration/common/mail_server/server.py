"""A mail server on a free port of this machine. The argument is JSON; what comes is written as JSON, one file a mail."""

import asyncio
import email
import email.policy
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

settings = json.loads(sys.argv[1])
folder = settings["folder"]


def write(name, content):
    """The file is there with all its content, or not at all."""
    with open(os.path.join(folder, name + ".new"), "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.rename(os.path.join(folder, name + ".new"), os.path.join(folder, name))


def part(message):
    content = {"type": message.get_content_type(), "encoding": message["Content-Transfer-Encoding"]}
    if message.is_multipart():
        return {**content, "parts": [part(inner) for inner in message.iter_parts()]}
    return {**content, "text": message.get_content()}


class Handler:
    """Takes what the settings do not refuse."""

    mails = 0
    asked = 0

    async def handle_MAIL(self, server, session, envelope, address, options):
        if settings.get("refuse_sender"):
            return "553 5.7.1 this sender may not send here"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        Handler.asked += 1
        if Handler.asked <= settings.get("greylist", 0):
            return "451 4.7.1 Greylisted, please try again later"
        if address in settings.get("refuse", []):
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if settings.get("refuse_message"):
            return settings["refuse_message"]
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        Handler.mails += 1
        write(
            f"{Handler.mails:04}.json",
            {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "encrypted": session.ssl is not None or settings["tls"] == "implicit",
                "authenticated": bool(session.authenticated),
                "hello": session.host_name,
                "longest_line": max(len(line) for line in envelope.content.split(b"\r\n")),
                "ascii": envelope.content.isascii(),
                "headers": {name: str(value) for name, value in message.items()},
                "defects": [repr(defect) for defect in message.defects],
                **part(message),
            },
        )
        return "250 2.0.0 OK taken"


def authenticate(server, session, envelope, mechanism, data):
    right = (settings["user"].encode(), settings["password"].encode())
    # Unless it is said so, the answer to a refused login counts as given.
    return AuthResult(success=(data.login, data.password) == right, handled=False)


async def main():
    context = None
    if settings["tls"] != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(settings["certificate"], settings["key"])
    starttls = settings["tls"] == "starttls"
    login = bool(settings.get("user"))

    def protocol():
        return SMTP(
            Handler(),
            hostname="mail.test",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            authenticator=authenticate if login else None,
            auth_required=login,
            auth_require_tls=starttls or bool(settings.get("hide_login")),
            enable_SMTPUTF8=True,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        protocol, "127.0.0.1", settings.get("port", 0), ssl=None if starttls else context
    )
    write("port", server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
