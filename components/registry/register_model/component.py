"""Register a model package as challenger."""

from kfp.dsl import HTML, Input, Model

from components import component


@component
def register_model(
    package: Input[Model],
    evaluation_report: Input[HTML],
    backtest_report: Input[HTML] = None,
    fairness_report: Input[HTML] = None,
    explanation_report: Input[HTML] = None,
    registered_model: str = "credit-risk",
    tracking_uri: str = "",
) -> str:
    """Logs package, figures and reports to MLflow and gives the new version the alias `challenger`.

    Args:
        package: The model package.
        evaluation_report: Page to keep beside the model.
        backtest_report: Page to keep beside the model, where the blueprint makes one.
        fairness_report: Page to keep beside the model, where the blueprint makes one.
        explanation_report: Page to keep beside the model, where the blueprint makes one.
        registered_model: Name in the registry.
        tracking_uri: MLflow's store; the environment's if empty.

    Returns:
        The version number in the registry.
    """
    from pathlib import Path

    from blueprints.governance.registry import Registry
    from blueprints.model_package import open_package

    pages = {
        "evaluation": evaluation_report,
        "backtest": backtest_report,
        "fairness": fairness_report,
        "explanation": explanation_report,
    }
    registered = Registry(tracking_uri or None).log_and_register(
        registered_model,
        open_package(Path(package.path)),
        reports={name: Path(page.path) for name, page in pages.items() if page is not None},
    )
    return registered.number
