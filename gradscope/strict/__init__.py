"""Files written by people: YAML read strictly, checked by pydantic, every problem told with its line and column."""
