"""Files of a Hugging Face data-set repository, by the hub's own library and our resumable, verified transfer."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ...text import first_line
from ..schema import DatasetError
from .http import Track, fetch
from .sources import HubSource
from .verify import FileReport, check_space


def fetch_hub(source: HubSource, folder: Path, track: Track, endpoint: str | None = None) -> list[FileReport]:
    """Every file of ``source`` below ``folder``; those that are there are verified and left alone.

    The hub's library finds the files, their checksums and the access token; the transfer is ``fetch``, which goes on
    with a part of an earlier run (the library begins each file anew).

    Args:
        source: What to fetch.
        folder: Root of the data set.
        track: Shows the progress of one file.
        endpoint: Another hub (default: ``$HF_ENDPOINT``, else the Hugging Face hub).

    Raises:
        DatasetError: The hub refuses (with the steps to take), cannot be reached, or a file's size or checksum differ.
    """
    from huggingface_hub import HfApi, get_token, hf_hub_url

    hub = HfApi(endpoint=endpoint)
    with _in_words(source):
        info = hub.dataset_info(source.repo, revision=source.revision, files_metadata=True)
        hub.auth_check(source.repo, repo_type="dataset")
    token = get_token() or ""
    found = [s for s in info.siblings or () if fnmatch.fnmatchcase(s.rfilename, source.pattern)]
    if not found:
        raise DatasetError(f"{source.repo}: no file {source.pattern} at revision {source.revision[:12]}")
    files = [(s.rfilename, s.size or 0, f"sha256:{s.lfs.sha256}" if s.lfs and s.lfs.sha256 else "") for s in found]
    for name, _, _ in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise DatasetError(f"{source.repo}: {name!r} would be written outside {folder}; nothing was fetched")
    folder.mkdir(parents=True, exist_ok=True)
    check_space(folder, sum(size for name, size, _ in files if not (folder / name).exists()))
    reports = []
    for name, size, checksum in sorted(files):
        url = hf_hub_url(source.repo, name, repo_type="dataset", revision=source.revision, endpoint=endpoint)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        outcome = fetch(url, folder / name, size, checksum, track, token=token)
        reports.append(FileReport(name, folder / name, outcome, size, checksum))
    return reports


@contextmanager
def _in_words(source: HubSource) -> Iterator[None]:
    """The library's errors as ``DatasetError`` that says what to do."""
    from huggingface_hub import errors

    again = "what was received is kept, run the same command again"
    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise DatasetError(f"{source.repo}: the hub no longer has revision {source.revision[:12]}") from error
    except errors.RepositoryNotFoundError as error:
        gated = isinstance(error, errors.GatedRepoError) or source.gated
        if not gated:
            raise DatasetError(f"{source.repo}: the hub has no such data set, or it is private") from error
        raise DatasetError(
            f"{source.repo} is gated on the Hugging Face hub, and your access was refused:\n"
            "  1. sign in there and accept the terms on the data set's own page\n"
            "  2. make an access token with the right to read, and run `hf auth login` (or set HF_TOKEN)\n"
            "  3. run the same command again"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise DatasetError(f"{source.repo}: HF_HUB_OFFLINE is set, so nothing is fetched; unset it") from error
    except errors.HfHubHTTPError as error:
        raise DatasetError(f"{source.repo}: the hub answered {error.response.status_code}; {again}") from error
    except Exception as error:  # the transport below raises its own kinds of errors
        raise DatasetError(f"{source.repo}: {first_line(error)}; {again}") from error
