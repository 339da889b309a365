"""The errors of the toolchain and the services.

::

    ExplainedError (casemate_attester.errors)
    └── CasemateError            anything this tool refuses or cannot do; exit code 1
        ├── UsageError           the command was asked for wrongly; exit code 2
        ├── ProjectError         casemate.toml, or the application it describes, has to be mended
        │   └── PreflightError       … because it does not run in Gramine (casemate.builder.preflight)
        ├── ToolchainError       this machine lacks something, or a tool of it failed
        ├── ClosureError         what the application needs cannot be found or decided
        ├── FormatError          bytes are not what their format allows
        ├── KeyUnfitError        a key cannot sign enclaves, or cannot be reached
        ├── RefusedError         a policy says no: to a signature, to evidence, to a release
        │   ├── RequestRefusedError  … as the answer to a request (casemate.broker.problem)
        │   └── CollateralRefusedError  … likewise (casemate.collateral.problem)
        ├── RehearsalError       a rehearsal could not be set up, or the application failed in it
        ├── RegistryError        a registry of images cannot be reached, or does not do what it is asked
        └── ServiceError         a service cannot start or cannot keep its store
            └── UpstreamError    whom it asks does not give what it asks for (casemate.collateral.upstream)
"""

from typing import ClassVar

from casemate_attester.errors import ExplainedError


class CasemateError(ExplainedError):
    """Anything that this tool refuses or cannot do; never raised itself."""

    exit_code: ClassVar[int] = 1


class UsageError(CasemateError):
    """The command was asked for wrongly."""

    exit_code: ClassVar[int] = 2


class ProjectError(CasemateError):
    """``casemate.toml``, or the application that it describes, has to be mended."""


class ToolchainError(CasemateError):
    """This machine lacks something, or a program that Casemate runs has failed."""


class ClosureError(CasemateError):
    """What the application needs cannot be found, or cannot be decided."""


class FormatError(CasemateError):
    """Bytes are not what their format allows."""


class KeyUnfitError(CasemateError):
    """A key cannot sign enclaves, or cannot be reached."""


class RefusedError(CasemateError):
    """A policy says no: to a signature, to evidence, to a release."""


class RehearsalError(CasemateError):
    """A rehearsal could not be set up, or the application failed in it."""


class RegistryError(CasemateError):
    """A registry of images cannot be reached, or does not give or take what it is asked to."""


class ServiceError(CasemateError):
    """A service cannot start, or cannot keep its store."""
