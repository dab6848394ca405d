"""Links of pages as the site has them."""

from site_links import rewrite_links


def test_links_out_of_docs_become_names_of_files() -> None:
    assert rewrite_links("See [example](../configs/example_config.yaml).", "docs") == (
        "See example (`configs/example_config.yaml`)."
    )
    assert rewrite_links("[`tests/x.py`](../tests/x.py)", "docs") == "`tests/x.py`"
    assert rewrite_links("[../README.md](../README.md)", "docs") == "`README.md`"


def test_links_of_the_top_folder_lead_to_pages() -> None:
    assert rewrite_links("[Errors](docs/errors.md#images)", "") == "[Errors](errors.md#images)"
    assert rewrite_links("[how](CONTRIBUTING.md)", "") == "[how](contributing.md)"
    assert rewrite_links("[what is new](../CHANGELOG.md#changelog)", "docs") == "[what is new](changelog.md#changelog)"


def test_links_between_pages_addresses_images_and_code_stay() -> None:
    for text in (
        "[Training](training.md#stages), [here](#stages), [`m`](margins.md)",
        "[timm](https://github.com/huggingface/pytorch-image-models)",
        "![a plot](calibration.png)",
        "write `[text](../file.txt)` so",
        "```\n[text](../file.txt)\n```",
    ):
        assert rewrite_links(text, "docs") == text
