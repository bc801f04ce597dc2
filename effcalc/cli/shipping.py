"""What `effcalc deploy` is asked for, as its options say it.

Annotations stay objects in this module: app.py reads them without evaluating any text.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.base.errors import InputError
from effcalc.base.units import parse_count, parse_values

if TYPE_CHECKING:
    from effcalc.deployment.sizes import Storage

_SIZES = ("", "--on-chip", "--fit-device")  # the tables of sizes in each storage


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """The storages, and which table: of sizes, on a chip, of a file, or the paper's."""

    bits: Annotated[
        str | None,
        typer.Option(
            "--bits", metavar="NUMBERS", help="Bits of codebooks, 1 to 8; 8,6,4 unless given."
        ),
    ] = None
    density: Annotated[
        str | None,
        typer.Option(
            "--density", metavar="NUMBERS", help="Also pruned, to these shares of weights: 0.33."
        ),
    ] = None
    index_bits: Annotated[
        str | None,
        typer.Option(
            "--index-bits",
            metavar="N",
            help="Bits of a kept weight's index, relative to the one before; 4 unless given.",
        ),
    ] = None
    huffman: Annotated[
        bool,
        typer.Option(
            "--huffman", help="Also with Huffman codes; needs --density.", show_default=False
        ),
    ] = False
    deep_compression: Annotated[
        str | None,
        typer.Option(
            "--deep-compression",
            metavar="KEYS",
            help="The steps to density=0.33,bits=6 (also index_bits=4, huffman=no), and their "
            "bytes.",
        ),
    ] = None
    link: Annotated[
        str | None,
        typer.Option(
            "--link", metavar="LINK", help="Time over a link: 10Mbps, 1GB/s:20ms, a name or a file."
        ),
    ] = None
    clients: Annotated[
        str, typer.Option("--clients", metavar="N", help="Clients to send it to over --link: 1M.")
    ] = "1"
    on_chip: Annotated[
        str | None,
        typer.Option(
            "--on-chip", metavar="NAMES", help="Which chips hold it: all, or virtex-7,my.toml."
        ),
    ] = None
    fit_device: Annotated[
        str | None,
        typer.Option(
            "--fit-device", metavar="NAME", help="The largest φ and width that fit this chip."
        ),
    ] = None
    paper: Annotated[
        bool,
        typer.Option("--paper", help="SqueezeNet's table 2, as printed and by arithmetic."),
    ] = False
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Compress the network's .safetensors weights, by --deep-compression.",
        ),
    ] = None
    write: Annotated[
        str | None,
        typer.Option("--write", metavar="FILE", help="Write the compressed --weights: my.effz."),
    ] = None
    read: Annotated[
        str | None,
        typer.Option("--read", metavar="FILE", help="Check an .effz file and say what it holds."),
    ] = None
    restore: Annotated[
        str | None,
        typer.Option("--restore", metavar="FILE", help="Decode --read into a .safetensors file."),
    ] = None

    def table(self) -> str:
        """Return the option that names the table, "" for sizes; refuse what does not go with it."""
        given = {
            "--deep-compression": self.deep_compression is not None,
            "--on-chip": self.on_chip is not None,
            "--fit-device": self.fit_device is not None,
            "--paper": self.paper,
            "--read": self.read is not None,
        }
        tables = [option for option, is_given in given.items() if is_given]
        if len(tables) > 1:
            raise InputError(f"{' and '.join(tables)} are tables of their own; give one of them")
        [table] = tables or [""]
        if self.weights is not None and table != "--deep-compression":
            raise InputError("--weights needs --deep-compression, such as density=0.33,bits=6")
        table = "--weights" if self.weights is not None else table
        self._refuse_ignored(table)
        return table

    def _refuse_ignored(self, table: str) -> None:
        for option, value, use in (
            ("--bits", self.bits, _SIZES),
            ("--density", self.density, _SIZES),
            ("--index-bits", self.index_bits, _SIZES),
            ("--huffman", self.huffman or None, _SIZES),
            ("--link", self.link, ("", "--deep-compression")),
            ("--write", self.write, ("--weights",)),
            ("--restore", self.restore, ("--read",)),
        ):
            if value is not None and table not in use:
                instead = f"leave out {table}" if "" in use else f"it is for {use[0]}"
                raise InputError(f"{option} is not for this table; {instead}")

    def receivers(self) -> int:
        """Return to how many clients the network is sent."""
        count = parse_count(self.clients, "--clients")
        if count < 1 or (count > 1 and self.link is None):
            raise InputError("--clients is how many the network is sent to over --link: at least 1")
        return count

    def storages(self) -> "list[Storage]":
        """Return the storages to size."""
        from effcalc.deployment.sizes import parse_compression, standard, steps

        if self.deep_compression is not None:
            return steps(parse_compression(self.deep_compression))
        shares = None if self.density is None else parse_values(self.density, "--density")
        if shares is None and self.index_bits is not None:
            raise InputError("--index-bits is for pruned weights; give --density 0.33 too")
        index = parse_count(self.index_bits or "4", "--index-bits")
        return standard(parse_values(self.bits or "8,6,4", "--bits"), shares, index, self.huffman)
