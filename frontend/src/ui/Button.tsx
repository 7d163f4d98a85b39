import type { ButtonHTMLAttributes, ReactNode } from "react";
import { Link } from "react-router";
import { Icon } from "./Icon";
import type { IconName } from "./icons";

type Look = "plain" | "primary" | "quiet" | "danger";

interface Content {
  icon?: IconName | undefined;
  /** The key that does the same. */
  hint?: string | undefined;
  look?: Look;
  small?: boolean;
  children?: ReactNode;
}

function classes(look: Look, small: boolean, alone: boolean): string {
  return ["button", `button-${look}`, small ? "button-small" : "", alone ? "button-icon" : ""]
    .join(" ")
    .trim();
}

export function Button({
  icon,
  hint,
  look = "plain",
  small = false,
  children,
  type = "button",
  className,
  ...rest
}: Content & ButtonHTMLAttributes<HTMLButtonElement>) {
  return (
    <button
      {...rest}
      type={type}
      className={`${classes(look, small, children === undefined)} ${className ?? ""}`}
    >
      {icon !== undefined && <Icon name={icon} size={small ? 14 : 16} />}
      {children}
      {hint !== undefined && <kbd aria-hidden="true">{hint}</kbd>}
    </button>
  );
}

export function LinkButton({
  to,
  icon,
  hint,
  look = "plain",
  small = false,
  children,
}: Content & { to: string }) {
  return (
    <Link to={to} className={classes(look, small, children === undefined)}>
      {icon !== undefined && <Icon name={icon} />}
      {children}
      {hint !== undefined && <kbd aria-hidden="true">{hint}</kbd>}
    </Link>
  );
}
