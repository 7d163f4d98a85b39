/** Alert rules, what they found, and the webhooks that carry it. */

import { queryOptions } from "@tanstack/react-query";
import type { components } from "./generated/schema";
import { api, body } from "./http";

type S = components["schemas"];
export type Alert = S["AlertOut"];
export type NewAlert = S["AlertIn"];
export type AlertEvent = S["AlertEventOut"];
export type Webhook = S["WebhookOut"];
export type WebhookSecret = S["WebhookSecretOut"];
export type Delivery = S["DeliveryOut"];

const inOrg = (org: string) => ({ params: { path: { org } } });
const ofAlert = (org: string, alert: string) => ({ params: { path: { org, alert } } });
const ofWebhook = (org: string, webhook: string) => ({ params: { path: { org, webhook } } });

export const alertsQuery = (org: string) =>
  queryOptions({
    queryKey: ["alerts", org],
    queryFn: ({ signal }) =>
      body<S["AlertList"]>(api.GET("/api/v1/orgs/{org}/alerts", { ...inOrg(org), signal })),
  });

export const alertEventsQuery = (org: string) =>
  queryOptions({
    queryKey: ["alert-events", org],
    queryFn: ({ signal }) =>
      body<S["AlertEventList"]>(api.GET("/api/v1/orgs/{org}/alert-events", { ...inOrg(org), signal })),
    refetchInterval: 20_000,
  });

export const webhooksQuery = (org: string) =>
  queryOptions({
    queryKey: ["webhooks", org],
    queryFn: ({ signal }) =>
      body<S["WebhookList"]>(api.GET("/api/v1/orgs/{org}/webhooks", { ...inOrg(org), signal })),
  });

export const deliveriesQuery = (org: string, webhook: string) =>
  queryOptions({
    queryKey: ["deliveries", org, webhook],
    queryFn: ({ signal }) =>
      body<S["DeliveryList"]>(
        api.GET("/api/v1/orgs/{org}/webhooks/{webhook}/deliveries", { ...ofWebhook(org, webhook), signal }),
      ),
    refetchInterval: 10_000,
  });

export async function createAlert(org: string, alert: NewAlert): Promise<Alert> {
  return body(api.POST("/api/v1/orgs/{org}/alerts", { ...inOrg(org), body: alert }));
}

export async function switchAlert(org: string, alert: string, enabled: boolean): Promise<Alert> {
  return body(api.PATCH("/api/v1/orgs/{org}/alerts/{alert}", { ...ofAlert(org, alert), body: { enabled } }));
}

export async function removeAlert(org: string, alert: string): Promise<void> {
  await api.DELETE("/api/v1/orgs/{org}/alerts/{alert}", ofAlert(org, alert));
}

export async function tryAlert(org: string, alert: string): Promise<void> {
  await api.POST("/api/v1/orgs/{org}/alerts/{alert}/test", ofAlert(org, alert));
}

export async function createWebhook(
  org: string,
  webhook: { name: string; url: string },
): Promise<WebhookSecret> {
  return body(api.POST("/api/v1/orgs/{org}/webhooks", { ...inOrg(org), body: webhook }));
}

export async function removeWebhook(org: string, webhook: string): Promise<void> {
  await api.DELETE("/api/v1/orgs/{org}/webhooks/{webhook}", ofWebhook(org, webhook));
}

export async function tryWebhook(org: string, webhook: string): Promise<Delivery> {
  return body(api.POST("/api/v1/orgs/{org}/webhooks/{webhook}/test", ofWebhook(org, webhook)));
}
