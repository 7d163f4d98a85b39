"""Django's settings, all derived from `stillroom.config.env`. One file for every environment."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

import structlog

from stillroom.config import env as environment

ENV = environment.at_home(environment.read())

SECRET_KEY = ENV.secret_key or "unset: only commands that touch no secret run without STILLROOM_SECRET_KEY"
DEBUG = ENV.debug
_public = urlsplit(ENV.public_url)
_secure = _public.scheme == "https"
ALLOWED_HOSTS = [*ENV.allowed_hosts, *([_public.hostname] if _public.hostname else [])]
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
LIVE_ORIGINS = [
    f"{_public.scheme}://{_public.netloc}",
    *(f"http://{host}:{_public.port or 80}" for host in ENV.allowed_hosts),
]

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "stillroom.config.console.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.headless",
    "channels",
    "ninja",
    "stillroom.core",
    "stillroom.accounts",
    "stillroom.tenants",
    "stillroom.runs",
    "stillroom.scheduling",
    "stillroom.telemetry",
    "stillroom.boards",
    "stillroom.mlflow",
    "stillroom.alerts",
    "stillroom.live",
    "stillroom.local",
    "stillroom.config",
]

MIDDLEWARE = [
    "stillroom.core.http.RequestIdMiddleware",
    "stillroom.core.http.PrivateAnswerMiddleware",
    "stillroom.core.http.ErrorFormMiddleware",
    "stillroom.core.http.PlainAddressMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "stillroom.core.http.ContentSecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

ROOT_URLCONF = "stillroom.config.urls"
ASGI_APPLICATION = "stillroom.config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database(url: str) -> dict[str, object]:
    parts = urlsplit(url or "postgresql://unset@127.0.0.1:1/unset")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 0,
        "OPTIONS": {
            **dict(parse_qsl(parts.query)),
            "connect_timeout": 5,
            "pool": {"min_size": 1, "max_size": 16, "timeout": 10},
        },
    }


DATABASES = {
    "default": _database(ENV.role_url("stillroom_app")),
    "sched": _database(ENV.role_url("stillroom_sched")),
    "admin": _database(ENV.role_url("stillroom_admin")),
    "owner": _database(ENV.database_url),
}
# The owner migrates and is then gone; it never shares a pool with anything.
DATABASES["owner"]["OPTIONS"].pop("pool")  # type: ignore[attr-defined]
DATABASE_ROUTERS = ["stillroom.core.tenancy.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# What the scheduler's process does beside scheduling, by dotted name; each is called with `stop`, an event.
HOUSEKEEPING = (
    "stillroom.telemetry.services.fold.fold_pass",
    "stillroom.telemetry.services.sweep.sweep_pass",
)

REDIS_URL = ENV.redis_url
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [ENV.redis_url], "prefix": "sr:ch"},
    }
}

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "stillroom.accounts.services.InvitedOnlyAdapter"
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key", "login": "60/m/ip"}
HEADLESS_ONLY = True
HEADLESS_CLIENTS = ("browser",)
HEADLESS_FRONTEND_URLS = {
    "account_reset_password_from_key": f"{ENV.public_url}/signin/reset/{{key}}",
    "account_signup": f"{ENV.public_url}/signin",
}
LOGIN_URL = "/signin"
LOGIN_REDIRECT_URL = "/"

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _secure
SESSION_COOKIE_NAME = "__Host-session" if _secure else "session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _secure else None
SECURE_HSTS_SECONDS = 31_536_000 if _secure else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = ENV.max_batch_bytes

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

FRONTEND_DIST = environment.REPOSITORY / "frontend" / "dist"
STATIC_URL = "/static/"
STATIC_ROOT = ENV.home / "static"
STATICFILES_DIRS = [("app", FRONTEND_DIST)] if FRONTEND_DIST.is_dir() else []
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
WHITENOISE_IMMUTABLE_FILE_TEST = r"^/static/app/assets/.+$"

_mail = urlsplit(ENV.email_url)
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if ENV.email_url else 'console'}.EmailBackend"
EMAIL_HOST = _mail.hostname or "localhost"
EMAIL_PORT = _mail.port or {"smtps": 465, "smtp": 587}.get(_mail.scheme, 25)
EMAIL_HOST_USER = unquote(_mail.username or "")
EMAIL_HOST_PASSWORD = unquote(_mail.password or "")
EMAIL_USE_SSL, EMAIL_USE_TLS = _mail.scheme == "smtps", _mail.scheme == "smtp"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENV.email_from

_processors: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_renderer: structlog.typing.Processor = (
    structlog.processors.JSONRenderer()
    if ENV.log_json
    else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
)
structlog.configure(
    processors=[*_processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "lines": {
            "()": structlog.stdlib.ProcessorFormatter,
            "foreign_pre_chain": _processors,
            "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer],
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines"}},
    "root": {"handlers": ["stderr"], "level": ENV.log_level.upper()},
    "loggers": {"django.request": {"level": "ERROR"}, "httpx": {"level": "WARNING"}},
}

UNFOLD = {
    "SITE_TITLE": "Stillroom administration",
    "SITE_HEADER": "Administration",
    "SITE_SUBHEADER": "Stillroom",
    "SITE_URL": None,
    "SITE_SYMBOL": "science",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "5px",
    "STYLES": ["stillroom.config.console.navigation.style"],
    "SIDEBAR": {"show_search": False, "navigation": "stillroom.config.console.navigation.sidebar"},
    "ACCOUNT": {"navigation": [{"title": "Back to Stillroom", "link": "/"}]},
    "COLORS": {
        "base": {
            "50": "#F5F7F7",
            "100": "#EDF0F0",
            "200": "#E0E5E5",
            "300": "#CBD3D3",
            "400": "#8B999B",
            "500": "#5F6D6F",
            "600": "#465355",
            "700": "#364144",
            "800": "#273032",
            "900": "#171C1E",
            "950": "#0F1314",
        },
        "primary": {
            "50": "#E6F3F1",
            "100": "#DCEFEC",
            "200": "#B5DED8",
            "300": "#84CFC4",
            "400": "#52C6B8",
            "500": "#52C6B8",
            "600": "#0B6E69",
            "700": "#095C58",
            "800": "#0A4A47",
            "900": "#12332F",
            "950": "#06201D",
        },
        "red": {"100": "#FBE7E4", "400": "#FF8F80", "500": "#CF3A30", "600": "#B3261E", "700": "#B3261E"},
        "orange": {"100": "#FBEFD8", "400": "#E9B655", "500": "#BC760C", "700": "#875100"},
        "green": {"100": "#DCEFEC", "400": "#52C6B8", "500": "#0B6E69", "600": "#0B6E69", "700": "#0B6E69"},
    },
}
