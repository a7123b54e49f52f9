"""An ad's text or HTML to windows of token ids."""
