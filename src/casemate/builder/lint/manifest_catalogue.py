"""The rules for manifests and their templates, in the order of the reference."""

from __future__ import annotations

from typing import Final

from casemate.builder.lint.rule import ERROR, NOTE, WARNING, Rule, rule

_TEXT: Final = (
    rule(
        "toml-syntax",
        ERROR,
        "Neither Gramine nor its tools read a file that is no TOML 1.0.",
        "Mend the place that is named; what follows it is checked only then.",
    ),
    rule(
        "duplicate-key",
        ERROR,
        "TOML has every key once; Gramine refuses a manifest that has one twice.",
        "Remove one of the two.",
    ),
    rule(
        "gramine-toml",
        ERROR,
        "Gramine's own TOML parser reads some documents otherwise than TOML says: multi-line strings, "
        "carriage returns, control characters behind an escape, a byte order mark.",
        "Write strings in one pair of quotation marks with \\n in them, and lines that end in a line feed.",
        fixes=True,
    ),
    rule(
        "template-syntax",
        ERROR,
        "gramine-manifest cannot render the template.",
        "Close what is open.",
    ),
    rule(
        "template-in-comment",
        WARNING,
        "Jinja renders what stands in a TOML comment, too: an undefined variable there stops the build, "
        "a condition there takes effect.",
        "Make it a comment of Jinja: {# … #}.",
        fixes=True,
    ),
    rule(
        "template-not-checked",
        NOTE,
        "A macro, an included file or an expression in place of a line is known only when it is rendered.",
        "Lint the rendered manifest as well.",
    ),
)

_FORM: Final = (
    rule(
        "unknown-key",
        ERROR,
        "Gramine's tools refuse keys that they do not know, and its runtime ignores them without a word.",
        "Use the nearest name, or remove the key.",
    ),
    rule(
        "removed-key",
        ERROR,
        "The key, or this form of it, is gone from Gramine; the old manifest does not start or means less.",
        "Use what has taken its place.",
        fixes=True,
    ),
    rule(
        "removed-variable",
        ERROR,
        "Gramine's libraries no longer read the variable.",
        "Use what has taken its place.",
        fixes=True,
    ),
    rule(
        "newer-key",
        ERROR,
        "The key came with a later Gramine than the one that --gramine names.",
        "Remove it, or use that Gramine.",
    ),
    rule(
        "missing-key",
        ERROR,
        "Gramine does not start without the key.",
        "Add it.",
    ),
    rule(
        "wrong-type",
        ERROR,
        "Gramine refuses a value of another type.",
        "Write a value of the type that is expected.",
        fixes=True,
    ),
    rule(
        "wrong-value",
        ERROR,
        "Gramine refuses the value, or the hardware does.",
        "Write one that is expected.",
    ),
    rule(
        "size-syntax",
        ERROR,
        "Gramine's signer and its runtime disagree on sizes: one takes 0x…, the other lower-case suffixes. "
        "Both take decimal digits with K, M, G or nothing.",
        'Write "512M" or "4G".',
        fixes=True,
    ),
    rule(
        "enclave-size",
        ERROR,
        "SGX has enclaves of a power of two only.",
        "Take the next power of two.",
    ),
    rule(
        "conflict",
        ERROR,
        "The keys exclude each other; Gramine does not start.",
        "Keep one of them.",
    ),
    rule(
        "mount-path",
        ERROR,
        "Gramine mounts at absolute paths below the root only.",
        "Begin the path with a slash; customise the root itself with fs.root.",
    ),
    rule(
        "mount-uri",
        ERROR,
        "Gramine does not start with a mount that shows neither a file nor a device: a chroot takes file: "
        "and dev:, an encrypted mount file:, untrusted_shm dev:.",
        'Write "file:PATH", or "dev:PATH" for a device.',
    ),
    rule(
        "trusted-uri",
        ERROR,
        'Only files can be hashed: a trusted file is "file:PATH", a folder ends in a slash and has no '
        "digest.",
        'Write "file:PATH", or "file:FOLDER/" without a digest.',
    ),
    rule(
        "source-not-trusted",
        ERROR,
        "Arguments or environment from a file that is not trusted are the host's.",
        "Add the file to sgx.trusted_files.",
    ),
    rule(
        "not-measured",
        ERROR,
        "A measured manifest (*.manifest.sgx) is complete: Gramine's loader refuses one that lacks "
        "digests, enclave size or threads.",
        "Make it with casemate sign --manifest, or with gramine-sgx-sign.",
    ),
    rule(
        "private-key-trusted",
        WARNING,
        "A trusted file lies in the image as it is: its content cannot change, but everyone can read it.",
        "Let a key broker release the key to the attested enclave, or make one inside with RA-TLS.",
    ),
    rule(
        "trusted-twice",
        WARNING,
        "Gramine searches the list of trusted files from its start at each open; entries that are there "
        "twice make every start slower.",
        "Remove one.",
    ),
)

_SECURITY: Final = (
    rule(
        "debug-enclave",
        ERROR,
        "The host reads and writes the memory of a debug enclave.",
        "sgx.debug = false",
    ),
    rule(
        "insecure-key",
        ERROR,
        "Gramine itself calls the setting insecure: it gives up what an enclave is for.",
        "Remove it.",
    ),
    rule(
        "host-arguments",
        ERROR,
        "Whoever starts the enclave chooses its arguments, and with them what a Python interpreter runs.",
        "Write the arguments into loader.argv.",
    ),
    rule(
        "host-environment",
        ERROR,
        "Whoever starts the enclave chooses its environment, LD_PRELOAD and PYTHONPATH included.",
        "Write the variables into loader.env.",
    ),
    rule(
        "key-in-manifest",
        ERROR,
        "Everyone who has the image reads the key in its manifest.",
        "Let a key broker provide it in /dev/attestation/keys, or use _sgx_mrsigner.",
    ),
    rule(
        "file-check-policy",
        ERROR,
        "Files that are not trusted are opened all the same.",
        'sgx.file_check_policy = "strict"',
    ),
    rule(
        "log-level",
        ERROR,
        "More than errors in Gramine's log tells the host what the application does.",
        'loader.log_level = "error"',
    ),
    rule(
        "log-file",
        WARNING,
        "Gramine's log goes to a file of the host, unprotected.",
        "Remove loader.log_file where the log is not wanted there.",
    ),
    rule(
        "allowed-code",
        ERROR,
        "The host may change allowed files at will; these are code or configuration.",
        "Make them trusted files.",
    ),
    rule(
        "allowed-over-trusted",
        ERROR,
        "An allowed folder holds trusted files, so the host can put untrusted ones beside them, where "
        "the application looks for its own.",
        'Allow a folder that holds data only, better: mount it with type = "encrypted".',
    ),
    rule(
        "allowed-files",
        WARNING,
        "Allowed files are the host's: neither their content nor their absence can be believed.",
        'Trust them, or mount their folder with type = "encrypted".',
    ),
    rule(
        "untrusted-mount",
        ERROR,
        "The mount shows files of the host's kernel, or memory that the host reads and writes.",
        "Remove it; Gramine emulates what it needs of /dev, /proc and /sys.",
    ),
    rule(
        "device-access",
        WARNING,
        "Calls to a device go to the host as they are and leak what they carry.",
        "Encrypt what the device is given, or remove sys.allowed_ioctls and the mount of the device.",
    ),
    rule(
        "mock-syscalls",
        ERROR,
        "System calls that are mocked claim to have done what they have not.",
        "Remove sys.debug__mock_syscalls.",
    ),
    rule(
        "profiling",
        ERROR,
        "Profiles and statistics tell the host what the enclave does, and work in debug enclaves only.",
        "Remove the setting.",
    ),
    rule(
        "dangerous-passthrough",
        ERROR,
        "The variable decides which code runs or which peers are believed, and the host would choose it.",
        "Write its value into loader.env.",
    ),
    rule(
        "passthrough",
        WARNING,
        "The host chooses the value of the variable.",
        "Write it into loader.env, or validate it in the application as input of an attacker.",
    ),
    rule(
        "ra-tls-insecure",
        ERROR,
        "RA-TLS would accept platforms or enclaves that are not secure.",
        "Remove the variable.",
    ),
    rule(
        "ra-tls-any",
        ERROR,
        "RA-TLS would accept any enclave, the attacker's own included.",
        "Write the measurement that is expected.",
    ),
    rule(
        "ra-tls-incomplete",
        WARNING,
        "Since Gramine 1.8 RA-TLS wants all of RA_TLS_MRENCLAVE, RA_TLS_MRSIGNER, RA_TLS_ISV_PROD_ID "
        "and RA_TLS_ISV_SVN.",
        'Set all four; "any" is for those that really do not matter.',
    ),
    rule(
        "secret-in-env",
        ERROR,
        "Everyone who has the image reads the environment in its manifest.",
        "Let a key broker release the secret to the attested enclave.",
    ),
    rule(
        "secret-in-argv",
        ERROR,
        "Everyone who has the image reads the arguments in its manifest.",
        "Let a key broker release the secret to the attested enclave.",
    ),
    rule(
        "few-threads",
        WARNING,
        "Gramine itself needs up to three threads of the enclave's; without EDMM none is added later.",
        "sgx.max_threads = the threads of the application and 4.",
    ),
    rule(
        "isv-numbers",
        WARNING,
        "With number 0 verifiers cannot tell this product from others of the signer, nor a mended version "
        "from the one before.",
        "Set sgx.isvprodid and sgx.isvsvn; raise isvsvn with each security fix.",
    ),
    rule(
        "no-attestation",
        WARNING,
        "Without remote attestation there is no /dev/attestation/quote, and nobody outside can tell the "
        "enclave from a program.",
        'sgx.remote_attestation = "dcap"',
    ),
)

_OPERATION: Final = (
    rule(
        "flock",
        WARNING,
        "Gramine calls its flock experimental and perhaps vulnerable.",
        "Use fcntl locks, or locks in memory.",
    ),
    rule(
        "untrusted-names",
        WARNING,
        "Names are resolved by the host's DNS, and the manifest names no certificate authority of its own.",
        "Use TLS for every peer, with SSL_CERT_FILE in loader.env naming a trusted file.",
    ),
    rule(
        "sealed-to-mrenclave",
        WARNING,
        "No other version of the enclave reads what this key has encrypted: the next build loses the data.",
        "Use a key of a key broker, or _sgx_mrsigner.",
    ),
    rule(
        "sealed-to-mrsigner",
        WARNING,
        "Every enclave of the same signer reads what this key has encrypted; product and version are "
        "not told apart by the path.",
        "Use a key of a key broker, or one signing key for each product.",
    ),
    rule(
        "encrypted-overlap",
        WARNING,
        "The same files are in two encrypted mounts; what one writes the other may not be able to read.",
        "Keep encrypted mounts apart, inside and on the host.",
    ),
    rule(
        "encrypted-rollback",
        NOTE,
        "The host can put encrypted files back to an earlier state while the enclave is down; Gramine "
        "notices nothing.",
        "Keep a counter or a digest of the state with a service that you trust.",
    ),
    rule(
        "avx-lost",
        WARNING,
        "The mask of AVX-512 contains the bit of AVX: disabling the one disables the other, whatever "
        "the manifest says of it.",
        'Leave avx512 "unspecified", or require both.',
    ),
    rule(
        "small-stack",
        WARNING,
        "Numerical libraries need more than the default of 256K for each thread; the application then "
        "dies without a message.",
        'sys.stack.size = "2M"',
    ),
    rule(
        "python-bytecode",
        WARNING,
        "Modification times are 0 inside Gramine, so that Python compiles every module anew at each start "
        "and tries to write it.",
        'Add -B to loader.argv or PYTHONDONTWRITEBYTECODE = "1" to loader.env; ship unchecked bytecode.',
    ),
    rule(
        "hash-seed",
        WARNING,
        "With a known seed of Python's hashes an attacker can choose keys that collide.",
        'Remove PYTHONHASHSEED, or set it to "random".',
    ),
    rule(
        "root-identity",
        NOTE,
        "The application sees itself as root: it has no more rights for it, but some programs then try to "
        "drop privileges or refuse to start.",
        "Set loader.uid and loader.gid, for example to 1000.",
    ),
    rule(
        "sigterm-handler",
        NOTE,
        "The host may end the application by SIGTERM at a moment of its choice.",
        "See that the handler leaves the data whole.",
    ),
    rule(
        "live-file-trusted",
        WARNING,
        "Docker and Kubernetes put other content into the file when the container starts, so that opening "
        "it fails.",
        "Trust a copy of your own, mounted at that path.",
    ),
    rule(
        "mount-without-trusted",
        WARNING,
        "Nothing below the mount is trusted or allowed, so that nothing in it can be opened; an optional "
        "import from there raises PermissionError in place of ImportError.",
        "Remove the mount, or trust what is needed of it.",
    ),
)

MANIFEST_RULES: Final[tuple[Rule, ...]] = (*_TEXT, *_FORM, *_SECURITY, *_OPERATION)
