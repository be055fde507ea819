#!/usr/bin/env python3
"""Calls the methods of a running basaltd over JSON-RPC, from the command line.

It knows no method itself: it asks the daemon (rpc_get_methods) which there are, what their
parameters mean and how SPDK's rpc.py spells them, so commands that people have for SPDK work as
they are. Every parameter also has a flag of its own name. Results go to standard output as JSON;
errors to standard error, with exit status 1.
"""

import argparse
import contextlib
import json
import os
import socket
import sys
import time

DEFAULT_SOCKET = "/var/tmp/basalt.sock"
DEFAULT_PORT = 5260
MIB = 1 << 20


class RpcFailure(Exception):
    """Something that the person at the keyboard should read."""


class Client:
    """A connection to the daemon. One request at a time."""

    def __init__(self, address, port, timeout, verbose, retries=0):
        self.where = address if "/" in address or not _is_ip(address) else f"{address} port {port}"
        self.timeout = timeout
        self.verbose = verbose
        self.next_id = 1
        self.buffer = ""
        for attempt in range(retries + 1):
            try:
                self.sock = self._connect(address, port)
                return
            except OSError as error:
                if attempt == retries:
                    raise RpcFailure(self._explain(error)) from error
                time.sleep(0.2)

    def _connect(self, address, port):
        if _is_ip(address):
            return socket.create_connection((address, port), timeout=self.timeout)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock

    def _explain(self, error):
        hint = "Is basaltd running? Start it with `basaltd`, or name its socket with -s PATH."
        if isinstance(error, PermissionError):
            hint = "The socket belongs to another user: run this as the user that runs basaltd."
        elif isinstance(error, FileNotFoundError):
            hint = "There is no such socket. " + hint
        return f"can't connect to {self.where}: {error.strerror or error}\n{hint}"

    def call(self, method, params=None):
        """The result of a method. Raises RpcFailure with the daemon's message."""
        request = {"jsonrpc": "2.0", "method": method, "id": self.next_id}
        self.next_id += 1
        if params:
            request["params"] = params
        text = json.dumps(request)
        self._log("request: " + text)
        try:
            self.sock.sendall(text.encode())
            response = self._receive()
        except socket.timeout as error:
            raise RpcFailure(f"no answer from {self.where} in {self.timeout:g} s "
                             f"(-t SECONDS waits longer); {method} may still happen") from error
        except OSError as error:
            raise RpcFailure(f"lost the connection to {self.where}: {error}") from error
        self._log("response: " + json.dumps(response))
        if "error" in response:
            error = response["error"]
            raise RpcFailure(f"{method}: {error['message']} (code {error['code']})")
        return response["result"]

    def _receive(self):
        deadline = time.monotonic() + self.timeout
        chunks = []
        decoder = json.JSONDecoder()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise socket.timeout()
            self.sock.settimeout(left)
            data = self.sock.recv(1 << 20)
            if not data:
                raise RpcFailure(f"{self.where} closed the connection without an answer")
            chunks.append(data)
            # The daemon ends each answer with a newline, which JSON strings never contain.
            if data.endswith(b"\n"):
                return decoder.decode(b"".join(chunks).decode())

    def _log(self, text):
        if self.verbose:
            print(text, file=sys.stderr)


def _is_ip(address):
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, address)
            return True
    return False


def _number(text):
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None


def _free_form(text):
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None


def _word_list(text):
    return [word for word in text.split(",") if word]


def _value_type(param):
    """What turns a command-line word into the parameter's value."""
    if param["type"] == "int":
        return _number
    if param["type"] == "json":
        return _free_form
    if param["repeated"]:
        return _word_list
    if param["type"] == "enum":
        # The daemon takes words in any case.
        words = {word.lower(): word for word in param["values"]}
        return lambda text: words.get(text.lower(), text)
    if "shorthand" in param:
        word, _, meaning = param["shorthand"].partition("=")
        return lambda text: meaning if text == word else text
    return str


def _help_text(param):
    text = param["help"]
    if param.get("values"):
        text += " One of: " + ", ".join(param["values"]) + "."
    low, high = param.get("min"), param.get("max")
    if low is not None and high is not None:
        text += f" From {low} to {high}."
    elif low is not None:
        text += f" At least {low}."
    elif high is not None:
        text += f" At most {high}."
    return text.strip().replace("%", "%%")


class _Words(argparse.Action):
    """One list of several words, each of which may be a list with commas."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, [word for words in values for word in words])


def _flag_names(param):
    leaf = param["name"].rpartition(".")[2]
    names = ["--" + leaf.replace("_", "-"), "--" + leaf]
    if "alias" in param:
        names.append("--" + param["alias"])
    return list(dict.fromkeys(names))


def _add_bool(parser, param):
    names = _flag_names(param)
    yes = [name for name in names]
    no = ["--no-" + name[2:] for name in names]
    yes += ["-" + param["short"]] if "short" in param else []
    no += ["-" + param["short_false"]] if "short_false" in param else []
    parser.add_argument(*yes, dest=param["name"], action="store_const", const=True,
                        default=argparse.SUPPRESS, help=_help_text(param))
    parser.add_argument(*no, dest=param["name"], action="store_const", const=False,
                        default=argparse.SUPPRESS, help="The opposite.")


def _add_flag(parser, param):
    if param["type"] == "bool":
        _add_bool(parser, param)
        return
    names = _flag_names(param) + (["-" + param["short"]] if "short" in param else [])
    if param["repeated"] and param["type"] != "json":
        parser.add_argument(*names, dest=param["name"], type=_value_type(param), nargs="+",
                            action=_Words, metavar=param["name"].rpartition(".")[2].upper(),
                            default=argparse.SUPPRESS, help=_help_text(param))
        return
    parser.add_argument(*names, dest=param["name"], type=_value_type(param),
                        metavar=param["name"].rpartition(".")[2].upper(),
                        default=argparse.SUPPRESS, help=_help_text(param))


def _add_position(parser, param):
    """A positional argument, for now a plain word: which parameter it is depends on the flags."""
    leaf = param.get("size_name") or param["name"].rpartition(".")[2]
    help_text = _help_text(param)
    if "size_name" in param:
        help_text = (f"Size in MiB. (Or give --{param['name'].replace('_', '-')}, the size in "
                     f"units of {param['mib_per']}.)")
    parser.add_argument("@" + param["name"], nargs="?", metavar=leaf, help=help_text)


def build_parser(prog, method):
    """The argparse parser of one method's description."""
    epilog = f"example:\n  {prog} {method['example']}" if method["example"] else None
    parser = argparse.ArgumentParser(prog=f"{prog} {method['name']}", description=method["help"],
                                     epilog=epilog, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    if method["params_from_file"]:
        parser.add_argument("-j", "--json-conf", "--filename", metavar="FILE", default="-",
                            help="JSON file with the parameters; default: standard input")
        return parser
    for param in _positional(method):
        _add_position(parser, param)
    for param in method["params"]:
        _add_flag(parser, param)
    return parser


def _put(params, name, value):
    """Sets a.b.c in nested dictionaries."""
    *outer, leaf = name.split(".")
    for key in outer:
        params = params.setdefault(key, {})
    params[leaf] = value


def _blocks(parser, param, mib, given):
    block_size = given.get(param["mib_per"])
    if not block_size:
        parser.error(f"{param['size_name']} needs {param['mib_per']}")
    size = mib * MIB
    if size <= 0 or size != int(size) or int(size) < block_size:
        parser.error(f"{param['size_name']} must be at least one block")
    return int(size) // block_size


def _positional(method):
    return sorted((p for p in method["params"] if "position" in p), key=lambda p: p["position"])


def _typed(parser, param, word):
    try:
        return float(word) if "size_name" in param else _value_type(param)(word)
    except (ValueError, argparse.ArgumentTypeError):
        name = param.get("size_name") or param["name"]
        parser.error(f"{name}: '{word}' is not a number")


def collect_params(parser, method, words):
    """The params object for `words`, a subcommand's arguments."""
    given = vars(parser.parse_intermixed_args(words))
    if method["params_from_file"]:
        return _read_json(given["json_conf"])
    # The positional words are those parameters, in order, that no flag has given.
    words = [given.pop("@" + p["name"]) for p in _positional(method)]
    words = [word for word in words if word is not None]
    places = [p for p in _positional(method) if p["name"] not in given]
    if len(words) > len(places):
        parser.error("too many arguments: " + " ".join(words[len(places):]))
    values = [(param, _typed(parser, param, word)) for param, word in zip(places, words)]
    given.update((p["name"], value) for p, value in values if "size_name" not in p)
    given.update((p["name"], _blocks(parser, p, value, given))
                 for p, value in values if "size_name" in p)
    _check_required(parser, method, given)
    params = {}
    for name, value in given.items():
        _put(params, name, value)
    return params


def _check_required(parser, method, given):
    missing = [p.get("size_name") or p["name"].rpartition(".")[2]
               for p in method["params"] if p["required"] and p["name"] not in given]
    if missing:
        parser.error("missing: " + ", ".join(missing))


def _read_json(path):
    try:
        if path == "-":
            return json.load(sys.stdin)
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise RpcFailure(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RpcFailure(f"{path} is not JSON: {error}") from error


def _list_methods(methods):
    width = max(len(m["name"]) for m in methods)
    for method in methods:
        summary = method["help"].partition(". ")[0].rstrip(".")
        print(f"  {method['name']:{width}}  {summary}")


def main(argv):
    prog = os.path.basename(argv[0])
    parser = argparse.ArgumentParser(
        prog=prog, description="Calls the methods of a running basaltd.", add_help=False,
        epilog=f"{prog} METHOD --help describes one method.")
    parser.add_argument("-h", "--help", action="store_true", help="show this and the methods")
    parser.add_argument("-s", "--server", dest="address", default=DEFAULT_SOCKET,
                        metavar="SOCKET_OR_IP",
                        help=f"the daemon's socket path or IP address (default: {DEFAULT_SOCKET})")
    parser.add_argument("-p", "--port", type=int, default=DEFAULT_PORT,
                        help=f"TCP port, with an IP address (default: {DEFAULT_PORT})")
    parser.add_argument("-t", "--timeout", type=float, default=60.0, metavar="SECONDS",
                        help="how long to wait for an answer (default: 60)")
    parser.add_argument("-r", dest="retries", type=int, default=0, metavar="N",
                        help="try to connect N times more, 0.2 s apart (default: 0)")
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="show requests and responses on standard error")
    parser.add_argument("method", nargs="?", metavar="METHOD")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="...")
    args = parser.parse_args(argv[1:])
    if args.timeout <= 0:
        parser.error("the time to wait must be more than 0")
    try:
        return run(prog, parser, args)
    except RpcFailure as failure:
        print(f"{prog}: {failure}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def run(prog, parser, args):
    """Does what the parsed command line says; returns the exit status."""
    if args.help or args.method is None:
        parser.print_help()
    client = Client(args.address, args.port, args.timeout, args.verbose, args.retries)
    methods = client.call("rpc_get_methods", {"include_descriptors": True})
    if args.help or args.method is None:
        print("\nmethods:")
        _list_methods(methods)
        return 0 if args.help else 1
    method = next((m for m in methods if m["name"] == args.method), None)
    if method is None:
        near = [m["name"] for m in methods if args.method in m["name"]]
        hint = " Did you mean: " + ", ".join(near) + "?" if near else ""
        raise RpcFailure(f"the daemon has no method '{args.method}'.{hint}")
    params = collect_params(build_parser(prog, method), method, args.words)
    json.dump(client.call(method["name"], params), sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
