"""What both forms of ``casemate sign`` have in common: who signs, when, and what is refused before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from casemate.cli.hexadecimal import hex_bytes
from casemate.cli.key_uri import name_of_key, open_key, passphrase_options
from casemate.cli.reading import read_file, read_public_key
from casemate.errors import FormatError, RefusedError, UsageError

if TYPE_CHECKING:
    from casemate.builder.signing.policy import LastRelease, SigningPolicy
    from casemate.builder.signing.sigstruct import SigningSubject
    from casemate.formats.sgx.sigstruct import SigningDate, SigStruct
    from casemate.keys import RsaPublicKey, Signer

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_SIGNATURE_OF_A_BUNDLE: Final = "app.sig"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningOptions:
    """The options of both forms.

    Attributes:
        key_uri: The key that signs now.
        provenance_uri: The key for reference values and provenance.
        date_text: What ``--date`` says.
        prepare: Where a request goes.
        attach: A signature that was made elsewhere.
        request: The request that it answers.
        public_key: Whose signature is asked for, or attached.
        expected_mrenclave: The only measurement that is signed.
        after: The release before.
        allow_debug: Whether all insecure settings are accepted.
        accepted: What is accepted by name.
    """

    key_uri: str | None
    provenance_uri: str | None
    date_text: str | None
    prepare: Path | None
    attach: Path | None
    request: Path | None
    public_key: Path | None
    expected_mrenclave: bytes | None
    after: Path | None
    allow_debug: bool
    accepted: tuple[str, ...]

    def require_consistent(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: With what was expected.
        """
        ways = {"--key": self.key_uri, "--prepare": self.prepare, "--attach": self.attach}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            raise UsageError(
                "options of sign",
                expected="one of --key, --prepare and --attach",
                got=" and ".join(given) or "none",
                hint="--key URI signs here and now; a key that is elsewhere signs in two steps: --prepare "
                "OUT, then --attach SIGNATURE --request OUT --public-key PEM",
            )
        (way,) = given
        needed = {"--request": self.request, "--public-key": self.public_key} if self.attach else {}
        missing = [name for name, value in needed.items() if value is None]
        if missing:
            raise UsageError(
                "options of sign", expected=f"{' and '.join(needed)} with --attach", got=f"no {missing[0]}"
            )
        foreign = {
            "--request": self.request is not None and way != "--attach",
            "--public-key": self.public_key is not None and way == "--key",
            "--provenance-key": self.provenance_uri is not None and way == "--prepare",
            "--date": self.date_text is not None and way == "--attach",
        }
        for name, wrong in foreign.items():
            if wrong:
                raise UsageError("options of sign", expected=_PLACES[name], got=f"it with {way}")

    def date(self) -> SigningDate:
        """The date that ``--date`` asks for.

        Raises:
            UsageError: Neither a day that exists nor ``today`` nor 0000-00-00.
        """
        from casemate.formats.sgx.sigstruct import NO_DATE, SigningDate

        if self.date_text is None:
            return NO_DATE
        if self.date_text == "today":
            return SigningDate.of(datetime.now(UTC).date())
        try:
            return SigningDate.parse(self.date_text, where="--date")
        except FormatError as error:
            raise UsageError(
                "--date",
                expected="YYYY-MM-DD, today or 0000-00-00" if error.hint is None else error.expected,
                got=error.got,
                hint=error.hint,
            ) from error

    def policy(self) -> SigningPolicy:
        """What may be signed.

        Raises:
            UsageError: A name to accept that nothing has, or a last release that is none.
            FormatError: The signature of the last release does not hold.
        """
        from casemate.builder.signing.policy import SigningPolicy, require_known_names
        from casemate.formats.sgx.report import MrEnclave

        require_known_names(self.accepted)
        expected = self.expected_mrenclave
        return SigningPolicy(
            allow_insecure=self.allow_debug,
            accepted=frozenset(self.accepted),
            expected_mrenclave=None if expected is None else MrEnclave(expected),
            last=None if self.after is None else _last_release(self.after),
        )

    def named_key(self) -> RsaPublicKey | None:
        """The public key that is named, fit for enclaves; ``None`` where there is none.

        Raises:
            FormatError: The file holds no public key.
            KeyUnfitError: A key that cannot sign enclaves.
        """
        if self.public_key is None:
            return None
        from casemate.builder.signing.sigstruct import require_enclave_key

        key = read_public_key(self.public_key)
        require_enclave_key(key, where=str(self.public_key))
        return key


_PLACES: Final = {
    "--request": "--request with --attach, whose request it is",
    "--public-key": "--public-key with --prepare or --attach, as --key knows its own",
    "--provenance-key": "--provenance-key with --key or --attach, as a request holds no statements",
    "--date": "no --date, as the request has it",
}


def signing_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of both forms to a command; they arrive as ``options``."""
    names = [field.name for field in fields(SigningOptions)]

    @functools.wraps(function)
    def packed(**given: Any) -> None:
        options = SigningOptions(**{name: given.pop(name) for name in names})
        function(options=options, **given)

    command: Callable[..., None] = passphrase_options(packed)
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: Final = (
    click.option(
        "--key",
        "-k",
        "key_uri",
        metavar="URI",
        help="Sign now, with this key; casemate key --help shows the kinds.",
    ),
    click.option(
        "--prepare",
        type=click.Path(path_type=Path),
        metavar="OUT",
        help="Do not sign: write a request for a signature to the new folder OUT.",
    ),
    click.option(
        "--attach",
        type=_FILE,
        metavar="SIGNATURE",
        help="Take a signature over a request, 384 bytes as OpenSSL and tokens write them.",
    ),
    click.option(
        "--request",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="OUT",
        help="With --attach: the request that was signed.",
    ),
    click.option(
        "--public-key",
        type=_FILE,
        metavar="PEM",
        help="With --attach: whose signature it is, a public key or a certificate. With --prepare: whose "
        "signature is asked for, to find out early whether that key fits.",
    ),
    click.option(
        "--provenance-key",
        "provenance_uri",
        metavar="URI",
        help="The key that signs reference values and provenance of a bundle.  [default: that of --key; with "
        "--attach nobody signs them]",
    ),
    click.option(
        "--date",
        "-d",
        "date_text",
        metavar="DATE",
        help="Date in the signature: YYYY-MM-DD, or today (UTC).  [default: 0000-00-00, which says none: "
        "same bytes on any day]",
    ),
    click.option(
        "--expect-mrenclave",
        "expected_mrenclave",
        type=hex_bytes(32),
        metavar="HEX",
        help="Sign this measurement and no other.",
    ),
    click.option(
        "--after",
        type=click.Path(exists=True, path_type=Path),
        metavar="LAST",
        help="The release before, a signed bundle or a signature: refuse another product, another signer or "
        "a lower ISVSVN.",
    ),
    click.option(
        "--accept",
        "accepted",
        multiple=True,
        metavar="NAME",
        help="Sign in spite of this: the key of an insecure setting, a rule of casemate lint, lower-isvsvn, "
        "other-product or other-signer; repeatable.",
    ),
    click.option(
        "--allow-debug", is_flag=True, help="Sign debug enclaves, and settings that Gramine calls insecure."
    ),
)


def open_keys(options: SigningOptions, policy: SigningPolicy) -> tuple[Signer | None, Signer | None]:
    """The key for the enclave, where it signs now, and the one for the statements, where there is one.

    Both are opened before either signs, so that a wrong PIN of the second one leaves no signature of the
    first. Each asks once for its passphrase, in this order; the same URI is opened once.

    Raises:
        CasemateError: A key that cannot be reached or does not fit.
        RefusedError: Another signer than that of the last release.
    """
    from casemate.builder.signing.policy import require_same_signer
    from casemate.builder.signing.sigstruct import require_enclave_key
    from casemate.formats.sgx.sigstruct import mrsigner_of

    signer = None
    if options.key_uri is not None:
        signer = open_key(options.key_uri)
        require_enclave_key(signer.public_key, where=name_of_key(options.key_uri))
        require_same_signer(mrsigner_of(signer.public_key.modulus), policy)
    second = options.provenance_uri
    if second is None or second == options.key_uri:
        return signer, signer
    return signer, open_key(second)


def enclave_signature(
    subject: SigningSubject, options: SigningOptions, policy: SigningPolicy, signer: Signer | None
) -> SigStruct:
    """The SIGSTRUCT of ``subject``: signed by ``signer``, or with the signature that is attached.

    Raises:
        CasemateError: The key cannot sign; the request is another; the signature does not hold.
    """
    from casemate.builder.signing.sigstruct import make_sigstruct

    if signer is not None:
        return make_sigstruct(subject.enclave, date=options.date(), signer=signer)
    return _attached(subject, options, policy)


def _attached(subject: SigningSubject, options: SigningOptions, policy: SigningPolicy) -> SigStruct:
    from casemate.builder.bundles.attached_signature import attached_sigstruct
    from casemate.builder.signing.policy import require_same_signer
    from casemate.builder.signing.request import AGAIN, FILES, require_request
    from casemate.formats.sgx.sigstruct import mrsigner_of

    key = options.named_key()
    if options.attach is None or options.request is None or key is None:
        raise RefusedError("signature", expected="a key, or a signature with its request", got="neither")
    mrsigner = mrsigner_of(key.modulus)
    require_same_signer(mrsigner, policy)
    given = {name: read_file(options.request / name, hint=AGAIN) for name in FILES}
    date = require_request(given, subject, mrsigner, where=str(options.request))
    return attached_sigstruct(
        subject, read_file(options.attach), date=date, key=key, where=str(options.attach)
    )


def prepare(subject: SigningSubject, options: SigningOptions, policy: SigningPolicy) -> dict[str, Any]:
    """Write the request for a signature over ``subject``; returns it as a document.

    Raises:
        CasemateError: The named key does not fit; the folder cannot be written.
    """
    import hashlib

    from casemate.builder.signing.policy import require_same_signer
    from casemate.builder.signing.request import SigningRequest
    from casemate.builder.writing import write_folder
    from casemate.formats.sgx.sigstruct import mrsigner_of

    key = options.named_key()
    mrsigner = None if key is None else mrsigner_of(key.modulus)
    if mrsigner is not None:
        require_same_signer(mrsigner, policy)
    request = SigningRequest(subject=subject, date=options.date(), mrsigner=mrsigner)
    out = options.prepare or Path()
    write_folder(out, request.to_files())
    click.echo(
        f"Nothing is signed yet: {out / 'request.txt'} tells the holder of the key what to do.", err=True
    )
    return request.to_dict() | {
        "to_be_signed_sha256": hashlib.sha256(request.signed_bytes).hexdigest(),
        "request": str(out),
    }


def _last_release(path: Path) -> LastRelease:
    from casemate.builder.signing.policy import LastRelease

    file = path / _SIGNATURE_OF_A_BUNDLE if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            "--after",
            expected="a signed bundle, or the signature of an enclave",
            got=f"a folder without {_SIGNATURE_OF_A_BUNDLE}",
            where=str(path),
            hint="name the bundle that was released last, signed",
        )
    return LastRelease.parse(read_file(file), where=str(file))
