"""Pictures that code draws: what the small base was trained on, and what the demo holds back."""
