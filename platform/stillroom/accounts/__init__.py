"""People: users who sign in by e-mail address. Sessions, passwords, MFA and OIDC are django-allauth's."""
