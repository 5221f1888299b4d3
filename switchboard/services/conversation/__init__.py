"""What a person does in Mattermost by commands, dialogs and buttons, without any HTTP."""
