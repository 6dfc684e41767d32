"""Uploading an exported judge to the hub, when told to and never otherwise.

The token is the hub library's own business (`hf auth login`, HF_TOKEN); it is not read here and stands in no message.
"""

from __future__ import annotations

from pathlib import Path

from rewards.errors import InputError


def push(folder: Path, repo: str, *, private: bool) -> str:
    """Upload a folder as the model `repo` (owner/name), which is made where it is not there; returns its address.

    private: make it so; without it the hub's or the organisation's own default holds. A model that is there and public
    is then refused, since uploading would publish what was to be private.
    Raises InputError when the hub refuses or cannot be reached; the folder stays as it is.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    api = HfApi()
    try:
        address = str(api.create_repo(repo, repo_type="model", private=True if private else None, exist_ok=True))
        exposed = private and not api.repo_info(repo).private
        if not exposed:
            api.upload_folder(repo_id=repo, folder_path=folder, commit_message="A judge exported by autoj")
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"could not upload {folder} as {repo}: {reason}. Log in with `hf auth login`, check the name and the "
            f"network (HF_HUB_OFFLINE must not be 1); the export is complete in {folder}"
        ) from error
    if exposed:  # it was there before, and stays as it was made
        raise InputError(
            f"expected the model {repo} to be private, but it exists and is public: nothing was uploaded. Name "
            f"another one, or make it private on the hub; the export is complete in {folder}"
        )
    return address
