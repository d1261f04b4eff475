"""Check how a text classifier shall be trained, before anything else runs."""

from components import component


@component
def check_text_method(method: str, student_layers: int = 0) -> None:
    """Refuses a method that does not exist or does not fit the student: a typing error should not cost a training.

    Args:
        method: `frozen` or `finetuned`.
        student_layers: Layers of a distilled student; 0 for none.
    """
    from blueprints.sentiment.method import check_method

    check_method(method, student_layers)
