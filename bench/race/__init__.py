"""Side by side: every row runs ours and its peers in turn, on the same clips, and looks at what each of them made."""
