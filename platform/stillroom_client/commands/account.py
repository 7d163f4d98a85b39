"""login, whoami, open."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
import webbrowser
from urllib.parse import quote

from stillroom_client.client import Client
from stillroom_client.commands.requests import client
from stillroom_client.commands.terminal import UsageError, show_json
from stillroom_client.credentials import (
    TOKEN_VARIABLE,
    URL_VARIABLE,
    Credentials,
    credentials_path,
    find_credentials,
    store_credentials,
)
from stillroom_client.transport import Transport


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    login = commands.add_parser("login", parents=[common], help="remember a platform and a token")
    login.add_argument("--url", default=os.environ.get(URL_VARIABLE), help="address of the platform")
    login.add_argument("--token", help="API token; without it you are asked, or it is read from standard input")
    login.set_defaults(do=_login)
    whoami = commands.add_parser("whoami", parents=[common], help="who this token is, and where")
    whoami.set_defaults(do=_whoami)
    opening = commands.add_parser("open", parents=[common], help="show a run or a project in the browser")
    opening.add_argument("what", metavar="RUN|ORG/PROJECT", nargs="?", help="without it the platform's first page")
    opening.add_argument("--print", action="store_true", dest="only_print", help="print the address, open nothing")
    opening.set_defaults(do=_open)


def _login(options: argparse.Namespace) -> int:
    url = options.url or (input("Platform (https://...): ").strip() if sys.stdin.isatty() else "")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"--url: {url or 'nothing'} is not an address; it starts with https://.")
    token = options.token or (getpass.getpass("Token: ") if sys.stdin.isatty() else sys.stdin.readline())
    if not token.strip():
        raise UsageError(f"--token: no token. Make one under Settings, Tokens on {url}.")
    credentials = Credentials(url.rstrip("/"), token.strip())
    me = Client(transport=Transport(credentials.url, credentials.token)).me()
    path = store_credentials(credentials)
    if options.json:
        show_json({"url": credentials.url, "stored": str(path), **me})
    else:
        orgs = ", ".join(org["slug"] for org in me.get("orgs", [])) or "no organisation"
        print(f"Signed in to {credentials.url} as {me['user']['email']} ({orgs}). Stored in {path}.")
    if os.environ.get(TOKEN_VARIABLE):
        print(f"{TOKEN_VARIABLE} is set and will be used instead.", file=sys.stderr)
    return 0


def _whoami(options: argparse.Namespace) -> int:
    me, found = client().me(), find_credentials()
    if options.json:
        show_json({"url": found.url, **me})
        return 0
    print(f"{me['user']['email']} on {found.url}")
    for org in me["orgs"]:
        print(f"  {org['slug']}: {org['role']}")
    source = TOKEN_VARIABLE if os.environ.get(TOKEN_VARIABLE) else credentials_path()
    print(f"  token from {source}")
    return 0


def _open(options: argparse.Namespace) -> int:
    address = find_credentials().url
    if options.what and "/" in options.what:
        org, _, project = options.what.partition("/")
        address += f"/o/{quote(org, safe='')}/p/{quote(project, safe='')}/runs"
    elif options.what:
        run = client().get(options.what)
        address += f"/o/{run['org']}/runs/{run['id']}"
    if options.json:
        show_json({"url": address})
    else:
        print(address)
    if not options.only_print and not options.json:
        webbrowser.open(address)
    return 0
